"""What ThreadGroup adds to the Communicator contract."""

from __future__ import annotations

import numpy as np
import pytest

from elevon.comm.protocol import Communicator
from elevon.errors import GroupAborted
from elevon.testing.threads import ThreadGroup


def test_results_come_by_rank() -> None:
    assert ThreadGroup(3).run(lambda comm: comm.rank * 10) == [0, 10, 20]


def test_the_error_of_the_first_member_that_failed_is_raised() -> None:
    def body(comm: Communicator) -> None:
        if comm.rank == 1:
            raise KeyError("mine")
        comm.barrier()

    with pytest.raises(KeyError, match="mine"):
        ThreadGroup(3).run(body)


def test_different_collectives_at_once_are_told() -> None:
    def body(comm: Communicator) -> None:
        if comm.rank == 0:
            comm.barrier()
        else:
            comm.allgather(np.ones(1))

    with pytest.raises(GroupAborted, match=r"rank \d called \w+ while others called \w+"):
        ThreadGroup(2).run(body)
