"""What the steps of the faster engines are made of: cohorts, programs, gradients, optimizers."""
