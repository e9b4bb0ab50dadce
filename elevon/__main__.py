"""``python -m elevon``: the command line."""

from __future__ import annotations

from elevon.cli import main

if __name__ == "__main__":
    main()
