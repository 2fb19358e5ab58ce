"""What owners of data say to a job, and what comes of it."""
