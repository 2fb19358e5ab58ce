"""Signing in to a cloud's page with a provider of OpenID Connect, for people who have no folder of their own."""
