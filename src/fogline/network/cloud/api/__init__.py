"""What people may ask of the cloud, call by call."""
