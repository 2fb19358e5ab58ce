"""What is asked beside the training: surveys of the devices, and questions to their data."""
