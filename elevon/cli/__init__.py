"""The command line."""

from elevon.cli.root import main

__all__ = ["main"]
