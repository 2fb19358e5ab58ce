"""The commands and their options, by group. What they do is imported when one runs."""
