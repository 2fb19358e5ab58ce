"""What devices are asked beside the training, and how their answers add up."""
