"""Groups of equal keys and what is aggregated per group, on one rank."""
