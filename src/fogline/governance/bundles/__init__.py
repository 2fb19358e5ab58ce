"""How a job's code travels: zips, and the manifest that a developer signs."""
