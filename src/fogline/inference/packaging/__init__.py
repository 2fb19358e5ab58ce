"""Making a version out of a trained model: the export, its checks, and what is measured on held-out examples."""
