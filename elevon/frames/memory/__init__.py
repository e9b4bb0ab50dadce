"""Memory budgets, and partitions on the local disk beyond them."""
