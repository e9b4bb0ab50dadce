"""The Communicator contract on threads of one process."""

from __future__ import annotations

import pytest

from elevon.testing.communicators import CONTRACT, Clause
from elevon.testing.threads import ThreadGroup

pytestmark = pytest.mark.no_mpi


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("clause", CONTRACT, ids=str)
def test_contract(clause: Clause, size: int) -> None:
    ThreadGroup(size, clause.timeout_s).run(clause.check)
