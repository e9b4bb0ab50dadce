"""One module per place where a pilot can run; none knows another."""
