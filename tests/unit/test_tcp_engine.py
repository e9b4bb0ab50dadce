"""The compiled engine of TCP groups: several meshes in one process, one thread for each rank."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from elevon._native import Group, GroupFailed, Mesh
from tests.support.tcp import EVERYBODY, PATIENCE_S, Net, connected_pair, together

NOTICED_WITHIN_S = 2.0

HEADER = struct.Struct("<IIQQQiIqqq")
MAGIC, MESSAGE, SAMPLE, TAKEN = 0x324E4C45, 15, 18, 20
OFFERED = 1 << 16


@pytest.fixture(params=[True, False], ids=["memory", "sockets"])
def net(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Net]]:
    with ExitStack() as cleanup:

        def make(size: int) -> Net:
            made = Net(size, request.param)
            for mesh in made.meshes:
                cleanup.callback(mesh.close, 0.0)
            return made

        yield make


def barriers(groups: list[Group], timeout_s: float | None = PATIENCE_S) -> list[Any]:
    return together(*(lambda group=group: group.barrier(timeout_s) for group in groups))


def send(group: Group, rank: int, data: np.ndarray[Any, Any]) -> None:
    group.exchange("message", [(rank, data)], [], -1, PATIENCE_S)


def receive(group: Group, rank: int, size: int) -> np.ndarray[Any, Any]:
    data = np.zeros(size, dtype=np.uint8)
    group.exchange("message", [], [(rank, data)], -1, PATIENCE_S)
    return data


def pattern(size: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def failed(group: Group, call: Callable[[], Any]) -> tuple[str, str, int | None]:
    started = time.monotonic()
    with pytest.raises(GroupFailed):
        call()
    assert time.monotonic() - started < NOTICED_WITHIN_S
    assert group.failure is not None
    return group.failure


# ------------------------------------------------------------------ what fits, and what does not


def test_members_that_call_different_collectives_are_told(net: Any) -> None:
    one, other = net(2).open()
    data = np.zeros(8, dtype=np.uint8)

    ends = together(lambda: one.barrier(PATIENCE_S), lambda: other.bcast(data, 0, PATIENCE_S))

    assert any(isinstance(end, GroupFailed) for end in ends)
    kind, reason, rank = one.failure or other.failure or pytest.fail("nobody was told")
    assert kind == "aborted"
    assert "same calls in the same order" in reason
    assert rank in (0, 1)


def test_members_that_wait_for_each_other_are_told_in_time(net: Any) -> None:
    """Each takes another one for the root, so nobody sends anything."""
    groups = net(3).open()
    data = [np.zeros(8, dtype=np.uint8) for _ in groups]

    ends = together(
        *(lambda at=at: groups[at].bcast(data[at], (at + 1) % 3, 0.3) for at in range(3))
    )

    assert all(isinstance(end, GroupFailed) for end in ends)
    assert {group.failure[0] for group in groups if group.failure} <= {"timeout", "aborted"}


def test_members_that_pass_different_lengths_are_told(net: Any) -> None:
    one, other = net(2).open()
    short, long = np.zeros(8, dtype=np.uint8), np.zeros(9, dtype=np.uint8)

    together(lambda: one.bcast(short, 0, PATIENCE_S), lambda: other.bcast(long, 0, PATIENCE_S))

    kind, reason, rank = failed(other, lambda: other.barrier(PATIENCE_S))
    assert (kind, rank) == ("aborted", 0)
    assert "8 bytes" in reason
    assert "9 bytes" in reason


def test_what_cannot_be_is_an_error_of_the_caller(net: Any) -> None:
    made = net(2)
    group = made.open()[0]
    data = np.zeros(8, dtype=np.uint8)

    for call in (
        lambda: group.bcast(data, 2, 1.0),
        lambda: group.gather(data, np.zeros(15, dtype=np.uint8), 0, 1.0),
        lambda: group.exchange("message", [(0, data)], [], -1, 1.0),
        lambda: group.exchange("message", [(5, data)], [], -1, 1.0),
        lambda: group.exchange("nothing", [], [], -1, 1.0),
        lambda: group.barrier(1.0) if group.bcast(np.zeros((4, 4))[:, ::2], 0, 1.0) else None,
        lambda: made.meshes[0].open(2, 0, [1], "2"),
        lambda: made.meshes[0].open(2, 0, [0, 7], "2"),
        lambda: made.meshes[0].open(EVERYBODY, 0, [1, 0], "1"),
        lambda: made.meshes[0].attach(0, 0, "myself"),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - each says something else
            call()
    assert group.failure is None


# ------------------------------------------------------------------ several groups on one mesh


def test_a_message_waits_for_its_group_to_be_opened(net: Any) -> None:
    made = net(2)
    sent = pattern(3_000_000)
    sender = made.meshes[0].open(7, 0, [0, 1], "7")
    made.open()

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, sender, 1, sent)
        receiver = made.meshes[1].open(7, 0, [0, 1], "7")
        assert (receive(receiver, 0, sent.size) == sent).all()
        sending.result(PATIENCE_S)


def test_groups_do_not_mix_when_they_are_used_in_another_order(net: Any) -> None:
    made = net(2)
    (one_a, one_b), (two_a, two_b) = made.open(1), made.open(2)
    first, second = pattern(1000, 1), pattern(1000, 2)

    send(one_a, 1, first)
    send(two_a, 1, second)

    assert (receive(two_b, 0, 1000) == second).all()
    assert (receive(one_b, 0, 1000) == first).all()


def test_two_threads_of_a_rank_use_a_group_each(net: Any) -> None:
    made = net(2)
    groups = [*made.open(1), *made.open(2)]

    def many(group: Group) -> None:
        for _ in range(200):
            group.barrier(PATIENCE_S)

    assert together(*(lambda group=group: many(group) for group in groups)) == [None] * 4


def test_a_peer_cannot_fill_the_memory_of_one_that_does_not_listen(net: Any) -> None:
    """It is held back; what it sent is whole when somebody wants it."""
    made = net(3)
    sent = pattern(150_000_000)
    waiting = made.meshes[1].open(1, 0, [1, 2], "1")
    sender = made.meshes[0].open(2, 0, [0, 1], "2")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, sender, 1, sent)
        failed(waiting, lambda: waiting.barrier(0.4))  # it takes in what comes meanwhile
        assert not sending.done()
        receiver = made.meshes[1].open(2, 0, [0, 1], "2")
        assert (receive(receiver, 0, sent.size) == sent).all()
        sending.result(PATIENCE_S)


def test_what_comes_for_a_forgotten_group_is_dropped(net: Any) -> None:
    made = net(2)
    sender, _ = made.open(5)
    made.meshes[1].forget(5)

    send(sender, 1, pattern(100_000))
    sender.fail("aborted", "late", 0)

    assert barriers(made.open(6)) == [None, None]


# ------------------------------------------------------------------ failure


def test_an_abort_in_a_large_exchange_leaves_the_connections_whole(net: Any) -> None:
    """Half a message is under way when a member gives up; the next group gets none of it."""
    made = net(3)
    groups = made.open(1)
    size = 20_000_000
    rows = [np.zeros(3 * size, dtype=np.uint8) for _ in groups]
    out = [np.zeros_like(row) for row in rows]
    culprit = threading.Timer(0.01, groups[2].fail, ("aborted", "enough", 2))

    culprit.start()
    ends = together(
        *(lambda i=i: groups[i].alltoall(rows[i], out[i], PATIENCE_S) for i in range(2))
    )

    assert all(isinstance(end, GroupFailed) for end in ends)
    assert groups[0].failure == groups[1].failure == ("aborted", "enough", 2)
    again = made.open(2)
    sent = [pattern(3 * size, rank) for rank in range(3)]
    together(*(lambda i=i: again[i].alltoall(sent[i], out[i], PATIENCE_S) for i in range(3)))
    for rank in range(3):
        found = out[rank].reshape(3, size)
        for peer in range(3):
            assert (found[peer] == sent[peer].reshape(3, size)[rank]).all()


def test_a_member_that_goes_is_named_to_all(net: Any) -> None:
    made = net(4)
    groups = made.open()
    barriers(groups)

    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(group.barrier, None) for group in groups[:3]]
        made.meshes[3].close(0.0)
        assert all(isinstance(wait.exception(PATIENCE_S), GroupFailed) for wait in waits)

    for group in groups[:3]:
        assert group.failure is not None
        kind, reason, rank = group.failure
        assert (kind, rank) == ("lost", 3)
        assert "slot 3" in reason
    assert failed(groups[0], lambda: groups[0].barrier(None))[0] == "lost"
    assert barriers(made.open(2, [0, 1, 2])) == [None] * 3


def test_a_death_is_told_also_while_another_one_is_waited_for(net: Any) -> None:
    """Rank 0 waits for rank 2, which computes; but rank 1 is dead, so the call cannot end."""
    mesh = Mesh(0, 3)
    (ours_1, theirs_1), (ours_2, theirs_2) = connected_pair(), connected_pair()
    mesh.attach(1, ours_1.detach(), "the dead")
    mesh.attach(2, ours_2.detach(), "the busy")
    group = mesh.open(EVERYBODY, 0, [0, 1, 2], "1")
    theirs_1.close()

    with theirs_2:
        kind, reason, rank = failed(group, lambda: group.barrier(None))

    assert (kind, rank) == ("lost", 1)
    assert "the dead" in reason
    mesh.close(0.0)


def test_who_has_done_its_part_may_leave(net: Any) -> None:
    """The root of a gather waits for a late member, long after an early one has left."""
    made = net(3)
    groups = made.open()
    mine, rows = pattern(100), np.zeros(300, dtype=np.uint8)

    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(groups[0].gather, mine, rows, 0, PATIENCE_S)
        groups[1].gather(mine, None, 0, PATIENCE_S)
        made.meshes[1].close()
        assert not threading.Event().wait(0.7)
        groups[2].gather(mine, None, 0, PATIENCE_S)
        collecting.result(PATIENCE_S)

    assert (rows.reshape(3, 100) == mine).all()
    assert failed(groups[2], lambda: groups[2].barrier(None))[0] == "lost"


def test_what_a_member_sent_before_it_went_still_counts(net: Any) -> None:
    made = net(2)
    one, other = made.open()
    sent = pattern(10_000)

    send(one, 1, sent)
    made.meshes[0].close()

    assert (receive(other, 0, sent.size) == sent).all()
    assert failed(other, lambda: other.barrier(None))[0] == "lost"


def test_a_group_with_a_lost_member_fails_when_it_is_used(net: Any) -> None:
    made = net(3)
    made.meshes[2].close(0.0)
    pair = made.open(1, [0, 1])
    barriers(pair)

    group = made.meshes[0].open(2, 0, [0, 1, 2], "2")

    assert failed(group, lambda: group.barrier(None))[::2] == ("lost", 2)


def test_a_replacement_joins_new_groups_only(net: Any) -> None:
    made = net(3)
    old = made.open(1)
    barriers(old)
    made.meshes[2].close(0.0)
    made.meshes[2] = Mesh(2, 3)
    made.connect(0, 2)
    made.connect(1, 2)

    assert [failed(old[at], lambda at=at: old[at].barrier(None))[2] for at in (0, 1)] == [2, 2]
    assert barriers(made.open(2)) == [None] * 3
    made.meshes[2].close(0.0)


def test_a_deadline_names_who_did_not_come(net: Any) -> None:
    groups = net(3).open()

    ends = barriers(groups[:2], 0.2)

    assert all(isinstance(end, GroupFailed) for end in ends)
    for group in groups[:2]:
        assert group.failure is not None
        assert group.failure[0] == "timeout"
    assert any("slot 2" in str(end) for end in ends)


def test_another_thread_ends_a_wait_without_a_deadline(net: Any) -> None:
    made = net(2)
    group = made.open()[0]
    threading.Timer(0.05, made.meshes[0].interrupt, (EVERYBODY, "lost", "so it is", 1)).start()

    assert failed(group, lambda: group.barrier(None)) == ("lost", "so it is", 1)


def test_a_group_can_be_ended_before_it_is_opened(net: Any) -> None:
    made = net(2)
    made.meshes[0].interrupt(9, "aborted", "never mind", None)

    group = made.meshes[0].open(9, 0, [0, 1], "9")

    assert failed(group, lambda: group.barrier(None)) == ("aborted", "never mind", None)


def test_a_signal_ends_a_wait_and_the_group(net: Any) -> None:
    one, other = net(2).open()
    pid = threading.main_thread().ident
    assert pid is not None
    threading.Timer(0.1, signal.pthread_kill, (pid, signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        one.barrier(None)

    other.barrier(None)  # its word for this one had left before
    kind, reason, rank = failed(other, lambda: other.barrier(None))
    assert (kind, rank) == ("aborted", 0)
    assert "interrupted" in reason


# ------------------------------------------------------------------ reading a peer's memory


class Stranger:
    """A process of another make: it speaks to slot 0 of 2 through a bare socket."""

    def __init__(self) -> None:
        self.mesh = Mesh(0, 2)
        ours, self.socket = connected_pair()
        self.socket.settimeout(PATIENCE_S)
        self.mesh.attach(1, ours.detach(), "a stranger")
        self.group = self.mesh.open(EVERYBODY, 0, [0, 1], "1")
        self.word = np.array([secrets.randbits(63) + 1], dtype=np.uint64)

    def show(self, value: int | None = None) -> None:
        """Let the mesh try whether it can read this process's memory."""
        found = int(self.word[0]) if value is None else value
        sample = struct.pack("<QQQ", os.getpid(), self.word.ctypes.data, found)
        self.socket.sendall(header(SAMPLE, total=24, size=24) + sample)

    def offer(self, data: np.ndarray[Any, Any], token: int | None = None) -> None:
        """Offer a message that the word stands for."""
        said = int(self.word[0]) if token is None else token
        offer = struct.pack("<QQQ", data.ctypes.data, self.word.ctypes.data, said)
        head = header(MESSAGE | OFFERED, total=data.nbytes, size=24, context=EVERYBODY)
        self.socket.sendall(head + offer)

    def taken(self) -> int | None:
        """The token that the mesh says it has taken, or None where it says nothing more."""
        while True:
            head = self._receive(HEADER.size)
            if not head:
                return None
            kind, size = HEADER.unpack(head)[1], HEADER.unpack(head)[-1]
            payload = self._receive(size)
            if kind == TAKEN:
                return int.from_bytes(payload, "little")

    def _receive(self, count: int) -> bytes:
        return self.socket.recv(count, socket.MSG_WAITALL) if count else b""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    with made.socket:
        yield made
    made.mesh.close(0.0)


def test_an_offer_is_read_and_confirmed(stranger: Stranger) -> None:
    sent = pattern(3_000_001)
    stranger.show()
    stranger.offer(sent)

    assert (receive(stranger.group, 1, sent.size) == sent).all()
    assert stranger.taken() == int(stranger.word[0])


def test_an_offer_that_was_taken_back_is_not_believed(stranger: Stranger) -> None:
    """The memory is there and may be read, but it is no longer the message."""
    stranger.show()
    stranger.offer(pattern(1_000_000), token=int(stranger.word[0]) ^ 1)

    into = np.zeros(1_000_000, dtype=np.uint8)
    with pytest.raises(GroupFailed, match="still waiting"):
        stranger.group.exchange("message", [], [(1, into)], -1, 0.3)


def test_an_offer_without_leave_costs_the_connection(stranger: Stranger) -> None:
    stranger.show(value=1)  # what lies there is another number: another process's memory
    stranger.offer(pattern(1_000_000))

    into = np.zeros(1_000_000, dtype=np.uint8)
    with pytest.raises(GroupFailed):
        stranger.group.exchange("message", [], [(1, into)], -1, 0.5)
    assert (into == 0).all()


def test_an_offer_that_nobody_wants_is_given_back(stranger: Stranger) -> None:
    stranger.show()
    stranger.group.fail("aborted", "never mind", 0)
    stranger.offer(pattern(1_000_000))
    other = stranger.mesh.open(9, 0, [0, 1], "9")

    with pytest.raises(GroupFailed):
        other.barrier(0.3)

    assert stranger.taken() == int(stranger.word[0])


def test_a_sender_takes_its_memory_back_when_it_gives_up(net: Any) -> None:
    """Its array is overwritten at once: the receiver must not pass that for the message."""
    made = net(2)
    sender, receiver = made.open()
    barriers([sender, receiver])
    for context in range(10, 20):
        sender, receiver = made.open(context)
        data, into = np.full(4_000_000, 1, dtype=np.uint8), np.zeros(4_000_000, dtype=np.uint8)
        with ThreadPoolExecutor(1) as pool:
            receiving = pool.submit(receiver.exchange, "message", [], [(0, into)], -1, PATIENCE_S)
            threading.Timer(0.001, sender.fail, ("aborted", "enough", 0)).start()
            try:
                sender.exchange("message", [(1, data)], [], -1, PATIENCE_S)
            except GroupFailed:
                data[:] = 2
            if receiving.exception(PATIENCE_S) is None:
                assert (into == 1).all()


# ------------------------------------------------------------------ lies


def header(
    kind: int = MESSAGE, total: int = 8, offset: int = 0, size: int = 8, **other: int
) -> bytes:
    magic = other.get("magic", MAGIC)
    return HEADER.pack(magic, kind, other.get("context", 2), 0, 0, -1, 0, total, offset, size)


@pytest.mark.parametrize(
    "lie",
    [
        b"GET / HTTP/1.1\r\n" * 8,
        header(magic=1),
        header(kind=99),
        header(total=-1),
        header(size=-1),
        header(offset=-8),
        header(total=8, size=9),
        header(total=1 << 62, size=(1 << 20) + 1),
        header(total=(1 << 63) - 1, offset=(1 << 63) - 1, size=8),
        header(offset=8, total=16),  # the middle of a message that never began
        header(total=16) + b"12345678" + header(total=24, offset=8),  # another message's rest
        header(kind=0, total=2000, size=2000) + bytes(2000),  # a notice longer than any
        header(kind=0, total=16, offset=8),
        header(kind=MESSAGE | OFFERED, total=1000, size=8),
        header(kind=MESSAGE | OFFERED, total=1000, size=24, offset=24),
        header(kind=SAMPLE | OFFERED, total=24, size=24),
        header(kind=MESSAGE | OFFERED << 1, total=24, size=24),
    ],
    ids=range(17),
)
def test_a_lie_costs_the_liar_its_connection(net: Any, lie: bytes) -> None:
    mesh = Mesh(0, 2)
    ours, theirs = connected_pair()
    mesh.attach(1, ours.detach(), "a liar")
    group = mesh.open(EVERYBODY, 0, [0, 1], "1")

    with theirs:
        theirs.sendall(lie)
        kind, reason, rank = failed(group, lambda: group.barrier(PATIENCE_S))

    assert (kind, rank) == ("lost", 1)
    assert "a liar" in reason
    assert "no frame of ours" in reason
    mesh.close(0.0)


def test_an_announced_length_takes_no_memory() -> None:
    """A message of 2^62 bytes is believed as far as it comes."""
    mesh = Mesh(0, 2)
    ours, theirs = connected_pair()
    mesh.attach(1, ours.detach(), "a boaster")
    group = mesh.open(EVERYBODY, 0, [0, 1], "1")
    with theirs:
        theirs.sendall(header(total=1 << 62, context=EVERYBODY) + bytes(8))
        theirs.shutdown(socket.SHUT_WR)
        assert failed(group, lambda: group.barrier(PATIENCE_S))[0] == "aborted"
    mesh.close(0.0)


def test_a_closed_mesh_fails_its_groups(net: Any) -> None:
    made = net(2)
    group = made.open()[0]
    made.meshes[0].close()
    made.meshes[0].close()

    assert failed(group, lambda: group.barrier(None))[0] == "lost"
