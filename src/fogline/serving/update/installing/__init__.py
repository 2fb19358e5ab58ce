"""The process that looks at a version before it is served: the agent starts it, asks it and ends it."""
