"""Private groups of ranks: the Protocol and its implementations."""

from elevon.comm.protocol import Array, Communicator, ReduceOp

__all__ = ["Array", "Communicator", "ReduceOp"]
