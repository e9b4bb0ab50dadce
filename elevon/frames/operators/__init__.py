"""The table algebra: what each rank of a group does for one verb."""
