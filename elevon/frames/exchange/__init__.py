"""What ranks of a group tell and send each other: sizes, rows, splitters, agreements."""
