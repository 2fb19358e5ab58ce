"""What only the root does: jobs are submitted, scheduled and judged there, nodes admitted, models published."""
