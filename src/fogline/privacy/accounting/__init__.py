"""What a run gives away of whom, in numbers: events, accountants that add them up, and what a data owner has spent."""
