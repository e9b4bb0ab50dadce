"""``elevon bench kernels``: join and sort of Elevon and its peers, each in processes of its own."""
