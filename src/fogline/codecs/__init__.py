"""What makes models and their differences small on the way."""
