"""Failure latches: the first failure counts, from whichever thread and group it comes."""

from __future__ import annotations

import threading
import time

import pytest

from elevon.comm.base.failure import Failure, FailureLatch, FailureLatches
from elevon.comm.base.waiting import Deadline, Waiter
from elevon.errors import CollectiveTimeout, GroupAborted, MemberLost

LOST = Failure("lost", "rank 2 is dead", 2)
ABORTED = Failure("aborted", "rank 1 gave up", 1)


def test_the_first_failure_counts() -> None:
    latch = FailureLatch()
    latch.check()

    assert latch.trip(LOST)
    assert not latch.trip(ABORTED)

    with pytest.raises(MemberLost, match="rank 2 is dead") as caught:
        latch.check()
    assert caught.value.rank == 2


def test_a_parent_ends_its_child_but_not_the_other_way_round() -> None:
    parent = FailureLatch()
    one, other = FailureLatch(parent), FailureLatch(parent)

    one.trip(LOST)
    parent.check()
    other.check()
    parent.trip(ABORTED)

    with pytest.raises(GroupAborted):
        other.check()
    with pytest.raises(MemberLost):
        one.check()


def test_latches_remember_failures_of_groups_that_are_not_open_yet() -> None:
    latches = FailureLatches(limit=2)
    latches.latch("a").trip(LOST)

    assert latches.latch("a").failure == LOST
    latches.drop(["a", "never heard of"])
    assert latches.latch("a").failure is None
    for name in ("b", "c", "d"):
        latches.latch(name).trip(ABORTED)
    assert latches.latch("d").failure == ABORTED
    assert latches.latch("a").failure is None


def test_tripping_a_latch_wakes_those_that_wait_for_it() -> None:
    latch = FailureLatch()
    threading.Timer(0.05, latch.trip, (LOST,)).start()
    started = time.monotonic()

    latch.wait(30)

    assert time.monotonic() - started < 10
    latch.wait(30)  # and later waits end at once
    assert time.monotonic() - started < 10


def test_a_wait_ends_by_its_condition_or_by_its_watch() -> None:
    looks = iter([False, False, False, True])
    Waiter().wait_until(lambda: next(looks), FailureLatch(), lambda: None)
    deadline = Deadline(0.02)

    def watch() -> None:
        if deadline.passed:
            raise CollectiveTimeout("too late")

    with pytest.raises(CollectiveTimeout):
        Waiter().wait_until(lambda: False, FailureLatch(), watch)
    assert deadline.passed
    assert not deadline.passed_by(60)
    assert not Deadline(None).passed
