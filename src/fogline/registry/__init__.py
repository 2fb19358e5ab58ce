"""Model versions, signed releases and rollouts."""
