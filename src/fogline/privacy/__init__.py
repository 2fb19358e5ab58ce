"""What protects an update from those who only need the sum: keys, masks, shares of secrets, numbers in a ring."""
