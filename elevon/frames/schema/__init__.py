"""Which columns a join or a sort reads and makes, in which types."""
