"""What attacks on updates compute, on arrays alone: no model, no job."""
