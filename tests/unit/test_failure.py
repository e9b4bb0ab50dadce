"""Fuses: the first failure counts, from whichever thread and group it comes."""

from __future__ import annotations

import threading
import time

import pytest

from elevon.comm.base.failure import Failure, Fuse, FuseBox
from elevon.comm.base.waiting import Deadline, Waiter
from elevon.errors import CollectiveTimeout, GroupAborted, MemberLost

LOST = Failure("lost", "rank 2 is dead", 2)
ABORTED = Failure("aborted", "rank 1 gave up", 1)


def test_the_first_failure_counts() -> None:
    fuse = Fuse()
    fuse.check()

    assert fuse.blow(LOST)
    assert not fuse.blow(ABORTED)

    with pytest.raises(MemberLost, match="rank 2 is dead") as caught:
        fuse.check()
    assert caught.value.rank == 2


def test_a_parent_ends_its_child_but_not_the_other_way_round() -> None:
    parent = Fuse()
    one, other = Fuse(parent), Fuse(parent)

    one.blow(LOST)
    parent.check()
    other.check()
    parent.blow(ABORTED)

    with pytest.raises(GroupAborted):
        other.check()
    with pytest.raises(MemberLost):
        one.check()


def test_a_box_remembers_failures_of_groups_that_are_not_open_yet() -> None:
    box = FuseBox(limit=2)
    box.fuse("a").blow(LOST)

    assert box.fuse("a").failure == LOST
    box.drop(["a", "never heard of"])
    assert box.fuse("a").failure is None
    for name in ("b", "c", "d"):
        box.fuse(name).blow(ABORTED)
    assert box.fuse("d").failure == ABORTED
    assert box.fuse("a").failure is None


def test_blowing_a_fuse_wakes_who_naps_on_it() -> None:
    fuse = Fuse()
    threading.Timer(0.05, fuse.blow, (LOST,)).start()
    started = time.monotonic()

    fuse.nap(30)

    assert time.monotonic() - started < 10
    fuse.nap(30)  # and later naps end at once
    assert time.monotonic() - started < 10


def test_a_wait_ends_by_its_condition_or_by_its_watch() -> None:
    looks = iter([False, False, False, True])
    Waiter().wait_until(lambda: next(looks), Fuse(), lambda: None)
    deadline = Deadline(0.02)

    def watch() -> None:
        if deadline.passed:
            raise CollectiveTimeout("too late")

    with pytest.raises(CollectiveTimeout):
        Waiter().wait_until(lambda: False, Fuse(), watch)
    assert deadline.passed
    assert not deadline.passed_by(60)
    assert not Deadline(None).passed
