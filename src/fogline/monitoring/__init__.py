"""What a run shows and leaves behind: progress, results, tables, plots, its folder."""
