"""A page that shows runs and a fleet as they are, live, and lets people steer what their role may."""
