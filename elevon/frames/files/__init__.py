"""Datasets as files: which rank reads what, in which schema."""
