"""What every implementation of the Communicator shares: labels, arrays, reductions, failures."""
