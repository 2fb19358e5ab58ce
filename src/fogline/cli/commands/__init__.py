"""The commands: what each takes, and what it does. A group is a file, or a folder with a file for each subject."""
