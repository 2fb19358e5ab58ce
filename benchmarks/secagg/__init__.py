"""What it costs that an aggregator learns a sum only."""
