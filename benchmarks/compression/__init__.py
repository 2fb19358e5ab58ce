"""What codes on links cost and spare."""
