"""The distributed join and sort: the strategy, and one way for each."""
