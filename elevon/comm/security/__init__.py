"""Proofs that a peer knows the group's secret, and codes over what a store carries."""
