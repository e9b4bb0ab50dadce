"""Connections between ranks in TLS: right, unreadable on their way, and ended as fast as plain."""

from __future__ import annotations

import contextlib
import errno
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from elevon import _native
from elevon.comm.connect import sockets
from elevon.comm.connect.rendezvous import GroupKeys, GroupName, RendezvousServer, rendezvous_secret
from elevon.comm.connect.sockets import verify_peer
from elevon.comm.connect.tls import (
    AuthenticatedPeer,
    TlsPolicy,
    TlsWrapper,
    need_cryptography,
    pump,
    wrapper,
)
from elevon.comm.connect.tls.identity import Identity
from elevon.comm.tcp import JoinConfig, TcpWorld, join_world
from elevon.comm.tcp import joining as tcp_joining
from elevon.comm.tcp.acceptor import Acceptor
from elevon.comm.tcp.peers import HelloClaim, PeerTable
from elevon.errors import CommunicatorError, DescriptionError, MemberLost, UsageError, WireError
from elevon.model.pilots import PilotDescription
from tests.support.tcp import connected_pair, without_cryptography

SECRET = secrets.token_bytes(32)
GROUP = GroupName("job", 1)
KEY = GroupKeys.of(SECRET, GROUP).peering
ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
NOTICED_WITHIN_S = 2.0
APPLICATION_DATA = b"\x17\x03\x03"


@pytest.fixture
def server() -> Iterator[RendezvousServer]:
    server = RendezvousServer(rendezvous_secret(SECRET))
    yield server
    server.close()


def together(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


def config(server: RendezvousServer, slot: int, size: int, **other: Any) -> JoinConfig:
    other = {"deadline_s": PATIENCE_S, "tls": True, **other}
    return JoinConfig(server.address, GROUP, f"rank {slot}", slot, size, **other)


@contextlib.contextmanager
def worlds_of(server: RendezvousServer, size: int, **other: Any) -> Iterator[list[TcpWorld]]:
    ins = [config(server, slot, size, **other) for slot in range(size)]
    worlds = together(*(lambda each=each: join_world(each, SECRET) for each in ins))
    assert all(isinstance(world, TcpWorld) for world in worlds), worlds
    try:
        yield worlds
    finally:
        together(*(world.leave for world in worlds))


# ------------------------------------------------------------------ what is said arrives


def exchange(world: TcpWorld) -> None:
    comm = world.open_group(world.slots, 1, PATIENCE_S)
    for size in (1, 1000, 100_000, 1 << 20):
        mine = np.arange(size, dtype=np.int64) * (comm.rank + 1)
        total = comm.allreduce(mine)
        assert (total == np.arange(size) * sum(range(1, comm.size + 1))).all()
        parts = [np.full(size, comm.rank * 10 + to) for to in range(comm.size)]
        got = comm.alltoallv(parts)
        assert [set(part.tolist()) for part in got] == [
            {source * 10 + comm.rank} for source in range(comm.size)
        ]
    comm.barrier()


@pytest.mark.parametrize("size", [2, 3])
def test_collectives_of_every_size_are_right(server: RendezvousServer, size: int) -> None:
    with worlds_of(server, size, shares_memory=False) as worlds:
        assert together(*(lambda each=each: exchange(each) for each in worlds)) == [None] * size


@contextlib.contextmanager
def wrapped(wires: list[socket.socket] | None = None) -> Iterator[list[socket.socket]]:
    """The plain ends of one connection in TLS; ``wires`` gets its ends on the network."""
    one, other = TlsWrapper(), TlsWrapper()
    dialing, accepting = connected_pair()
    if wires is not None:
        wires += [dialing.dup(), accepting.dup()]
    ends: list[socket.socket] = []

    def connect() -> socket.socket:
        session = sockets.prove_on(dialing, KEY, one.certificate)
        return one.connect(dialing, session)

    def accept() -> None:
        caller = verify_peer(accepting, KEY)
        other.accept(
            AuthenticatedPeer(accepting, caller, caller.claim),
            lambda end: ends.append(socket.socket(fileno=end.detach())),
        )

    connected, accepted = together(connect, accept)
    assert accepted is None
    ends.insert(0, connected)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()
        one.close(1.0)
        other.close(1.0)


def read_all(end: socket.socket) -> bytes:
    end.settimeout(PATIENCE_S)
    pieces = []
    while piece := end.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def test_all_that_was_sent_arrives_before_the_end_does() -> None:
    payload = secrets.token_bytes(8 << 20)
    with wrapped() as (one, other):

        def send_and_close() -> None:
            one.settimeout(PATIENCE_S)
            one.sendall(payload)
            one.close()

        _, received = together(send_and_close, lambda: read_all(other))

    assert received == payload


def test_the_end_of_one_direction_does_not_end_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "LINGER_S", PATIENCE_S)
    payload = secrets.token_bytes(4 << 20)
    with wrapped() as ends:

        def send(end: socket.socket) -> None:
            end.sendall(payload)
            end.shutdown(socket.SHUT_WR)

        for end in ends:
            end.settimeout(PATIENCE_S)
        calls = [lambda end=end: send(end) for end in ends]
        got = together(*calls, *(lambda end=end: read_all(end) for end in ends))

    assert [part == payload for part in got[2:]] == [True, True]


@pytest.mark.parametrize("how", ["changed", "cut"])
def test_a_connection_that_was_tampered_with_ends_on_both_sides(how: str) -> None:
    wires: list[socket.socket] = []
    with wrapped(wires) as ends:
        ends[0].sendall(b"before")
        ends[1].settimeout(PATIENCE_S)
        assert ends[1].recv(6) == b"before"
        if how == "changed":
            wires[0].sendall(APPLICATION_DATA + b"\x00\x20" + bytes(32))
        else:
            wires[0].shutdown(socket.SHUT_RDWR)
        assert read_all(ends[1]) == b""
        ends[1].close()  # as the engine does with what is lost
        assert read_all(ends[0]) == b""
        for wire in wires:
            wire.close()


# ------------------------------------------------------------------ what is on the wire


class Recorder:
    """Stands between a rank and those that it dials, and keeps what passes."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._threads: list[threading.Thread] = []

    def dial(self, address: tuple[str, int], *proof: bytes) -> tuple[socket.socket, bytes]:
        listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._relay, listener, address)
        return sockets.dial(listener.getsockname(), *proof)

    def _start(self, what: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _relay(self, listener: socket.socket, address: tuple[str, int]) -> None:
        with listener:
            near, _ = listener.accept()
        far = socket.create_connection(address)
        with near, far:
            other = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            other.start()
            self._copy(near, far)
            other.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                self.seen += piece
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("tls", [False, True])
def test_who_reads_the_wire_sees_records_and_no_payload(
    server: RendezvousServer, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(tcp_joining, "dial", recorder.dial)
    known = b"a payload that everybody knows" * 10
    data = np.frombuffer(known, dtype=np.uint8)
    with worlds_of(server, 2, tls=tls, shares_memory=False) as worlds:

        def tell(world: TcpWorld) -> bytes:
            comm = world.open_group(world.slots, 1, PATIENCE_S)
            return bytes(comm.allgather(data)[1])

        assert together(*(lambda each=each: tell(each) for each in worlds)) == [known] * 2
    recorder.join()

    assert (known in recorder.seen) is not tls
    assert (APPLICATION_DATA in recorder.seen) is tls


def test_only_tls_1_3_is_spoken() -> None:
    context = Identity.new().context(Identity.new().certificate, accepting=False)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED


# ------------------------------------------------------------------ who is let in


@contextlib.contextmanager
def acceptor_of_slot_0(tls: bool = True) -> Iterator[tuple[Acceptor, _native.Mesh]]:
    mesh = _native.Mesh(0, 2)
    policy = TlsPolicy(tls)
    acceptor = Acceptor("127.0.0.1", policy)
    acceptor.start(PeerTable(mesh), KEY, 0, 1)
    yield acceptor, mesh
    acceptor.close()
    mesh.close()
    policy.close(1.0)


def knock(acceptor: Acceptor, certificate: bytes) -> tuple[socket.socket, bytes]:
    claim = HelloClaim(1, 5, "a test", 0, 1, certificate)
    return sockets.dial(("127.0.0.1", acceptor.port), KEY, msgspec.msgpack.encode(claim))


def assert_slot_1_is_empty(mesh: _native.Mesh) -> None:
    group = TcpWorld(mesh)
    with pytest.raises(MemberLost, match="it is not connected"):
        group.open_group((0, 1), 1, PATIENCE_S)


def test_another_certificate_than_the_proved_one_is_refused() -> None:
    liar, known = TlsWrapper(), Identity.new().certificate
    with acceptor_of_slot_0() as (acceptor, mesh):
        connection, session = knock(acceptor, known)
        with pytest.raises(WireError, match="not what it has proved to be"):
            liar.connect(connection, session)
        assert_slot_1_is_empty(mesh)
    liar.close(0.0)


def test_an_accepting_side_with_another_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, host = TlsWrapper(), TlsWrapper()
    monkeypatch.setattr(TlsWrapper, "certificate", Identity.new().certificate)
    dialing, accepting = connected_pair()
    mine = honest._identity.certificate

    def accept() -> None:
        caller = verify_peer(accepting, KEY)
        host.accept(
            AuthenticatedPeer(accepting, caller, caller.claim), lambda _: pytest.fail("it is in")
        )

    def connect() -> None:
        honest.connect(dialing, sockets.prove_on(dialing, KEY, mine))

    for refused in together(connect, accept):
        assert isinstance(refused, WireError), refused
    for each in (honest, host):
        each.close(0.0)


@contextlib.contextmanager
def hung_up() -> Iterator[None]:
    """The other end may close at any moment, before all is said too; not to close is a failure."""
    try:
        yield
    except TimeoutError:
        pytest.fail(f"the connection was still open after {NOTICED_WITHIN_S} s")
    except OSError as error:
        if not isinstance(error, ConnectionError) and error.errno != errno.ENOTCONN:
            raise


@pytest.mark.parametrize("said", [b"no handshake at all" * 100, b""])
def test_who_speaks_plain_text_where_tls_is_agreed_is_refused(said: bytes) -> None:
    with acceptor_of_slot_0() as (acceptor, mesh):
        connection, _ = knock(acceptor, Identity.new().certificate)
        with connection:
            connection.settimeout(NOTICED_WITHIN_S)
            with hung_up():
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        assert_slot_1_is_empty(mesh)


def test_who_says_nothing_where_tls_is_agreed_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrapper, "PROOF_WITHIN_S", 0.2)
    with acceptor_of_slot_0() as (acceptor, mesh):
        connection, _ = knock(acceptor, Identity.new().certificate)
        with connection:
            read_all(connection)
        assert_slot_1_is_empty(mesh)


@pytest.mark.parametrize("mine", [False, True])
def test_one_with_and_one_without_do_not_come_together(mine: bool) -> None:
    certificate = Identity.new().certificate if mine else b""
    with (
        acceptor_of_slot_0(tls=not mine) as (acceptor, mesh),
        pytest.raises(WireError, match="TLS setting"),
    ):
        knock(acceptor, certificate)
    assert mesh.lost() == []


def test_ranks_that_disagree_are_told(server: RendezvousServer) -> None:
    pair = [config(server, slot, 2, tls=slot == 0) for slot in range(2)]
    with ThreadPoolExecutor(2) as pool:
        entering = [pool.submit(join_world, each, SECRET) for each in pair]
        ended, _ = wait(entering, PATIENCE_S, FIRST_COMPLETED)
        server.close()  # nobody else will come

    assert all(isinstance(each.exception(), CommunicatorError) for each in entering)
    assert any("TLS setting" in str(each.exception()) for each in ended)


# ------------------------------------------------------------------ what ends

MEMBER = """
import sys
from elevon.comm.connect.rendezvous import GroupName
from elevon.comm.tcp import JoinConfig, join_world
secret = bytes.fromhex(sys.stdin.readline())
there = JoinConfig(sys.argv[1], GroupName("job", 1), "rank 1", 1, 2, tls=True)
world = join_world(there, secret)
comm = world.open_group((0, 1), 1, 20.0)
comm.barrier()
print("in", flush=True)
sys.stdin.read()
world.leave()
"""


@contextlib.contextmanager
def member(server: RendezvousServer) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MEMBER, server.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    process.stdin.write(SECRET.hex() + "\n")
    process.stdin.flush()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["killed", "leaves"])
def test_the_end_of_a_peer_is_noticed_at_once(server: RendezvousServer, how: str) -> None:
    with member(server) as process:
        world = join_world(config(server, 0, 2), SECRET)
        comm = world.open_group((0, 1), 1, PATIENCE_S)
        comm.barrier()
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(comm.barrier)
            started = time.monotonic()
            if how == "killed":
                process.send_signal(signal.SIGKILL)
            else:
                process.stdin.close()
                process.stdin = None
            error = waiting.exception(PATIENCE_S)
        assert time.monotonic() - started < NOTICED_WITHIN_S
        assert isinstance(error, MemberLost), repr(error)
        assert error.rank == 1
        assert ("has left" in str(error)) is (how == "leaves")
        world.leave()


def test_a_replacement_comes_in_at_once(server: RendezvousServer) -> None:
    with worlds_of(server, 2) as worlds:
        worlds[1].leave()
        worlds[1] = join_world(config(server, 1, 2), SECRET)

        assert together(*(lambda each=each: exchange(each) for each in worlds)) == [None, None]


def test_nothing_is_left_open(server: RendezvousServer) -> None:
    def count() -> np.ndarray:
        return np.array([len(list(Path("/proc/self/fd").iterdir())), threading.active_count()])

    before = count()
    for _ in range(2):
        with worlds_of(server, 3):
            pass

    deadline = time.monotonic() + PATIENCE_S
    while (count() > before).any() and time.monotonic() < deadline:
        # Strangers' threads and the server's ends go a moment later than those who leave.
        threading.Event().wait(0.01)
    assert (count() <= before).all()


# ------------------------------------------------------------------ how it is turned on


@pytest.mark.parametrize("other", [{"communicator": "mpi"}, {}, {"tls": "yes"}])
def test_a_description_that_cannot_have_tls_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(DescriptionError, match="tls"):
        PilotDescription(**{"tls": True, **other})


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cryptography(monkeypatch)

    with pytest.raises(UsageError, match=r"elevon\[tls\]"):
        need_cryptography()
