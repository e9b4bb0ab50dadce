"""Frozen values and tables; no I/O, no clock."""
