"""Pilots: what they are, how they start, live and end."""
