"""``elevon bench``: what the runtime costs, measured beside its peers."""
