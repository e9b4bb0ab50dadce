"""Arrow tables in and out: local kernels and distributed operators over a Communicator."""
