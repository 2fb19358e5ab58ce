"""The versions that a server has loaded: which one is live, how they answer, and what they did."""
