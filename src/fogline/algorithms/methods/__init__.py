"""The methods, one file each: every file registers its own by a decorator."""
