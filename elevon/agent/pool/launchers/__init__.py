"""How an agent starts and watches its ranks; none knows another."""
