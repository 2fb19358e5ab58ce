"""A trained model as something that answers: its card, its package, and what runs it."""
