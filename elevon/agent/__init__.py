"""The remote agent and its ranks."""
