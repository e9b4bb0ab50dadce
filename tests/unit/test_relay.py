"""The relay and endpoints of ranks, on one host: limits, strangers, members that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from elevon.comm.connect.nat import NatConfig, NatEndpoint, NatKeys, Path, RelayServer, relay_secret
from elevon.comm.connect.nat.channel import bind_shared
from elevon.comm.connect.nat.paths import send_request
from elevon.comm.connect.nat.relay import Limits
from elevon.comm.connect.nat.requests import (
    FROM_RELAY,
    Allocate,
    Answer,
    AnyRequest,
    Call,
    FromRelay,
    IncomingCall,
    Joined,
    Observed,
    Refused,
    Register,
    decode_request,
    encode_request,
)
from elevon.errors import CommunicatorError, UsageError, WireError

SECRET = secrets.token_bytes(32)
PATIENCE_S = 10.0


@contextlib.contextmanager
def relay(limits: Limits | None = None, port: int = 0) -> Iterator[RelayServer]:
    server = RelayServer(relay_secret(SECRET), port=port, limits=limits)
    try:
        yield server
    finally:
        server.close()


def config(server: RelayServer, name: str, **changes: Any) -> NatConfig:
    epoch = changes.pop("epoch", 1)
    keys = NatKeys.of(changes.pop("secret", SECRET), "job", epoch)
    relayed = {"punches": False, "within_s": PATIENCE_S, **changes}
    return NatConfig((server.host, server.port), "job", epoch, name, keys, **relayed)


@contextlib.contextmanager
def endpoints(server: RelayServer, *names: str, **changes: Any) -> Iterator[list[NatEndpoint]]:
    with contextlib.ExitStack() as cleanup:
        opened = []
        for name in names:
            opened.append(NatEndpoint(config(server, name, **changes)))
            cleanup.callback(opened[-1].close)
        yield opened


@contextlib.contextmanager
def path(caller: NatEndpoint, callee: NatEndpoint, to: str) -> Iterator[tuple[Path, Path]]:
    one = caller.reach(to)
    with one.connection:
        other = callee.accept(PATIENCE_S)
        with other.connection:
            yield one, other


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def on_request(server: RelayServer, *requests: AnyRequest) -> list[FromRelay | None]:
    """Bring requests one after another, keep them open, and hear one word for each."""

    async def run() -> list[FromRelay | None]:
        with contextlib.ExitStack() as cleanup:
            said: list[FromRelay | None] = []
            for request in requests:
                connection = cleanup.enter_context(bind_shared())
                channel = await send_request(config(server, "tester"), request, connection)
                said.append(await asyncio.wait_for(channel.receive(FROM_RELAY), PATIENCE_S))
            return said

    return asyncio.run(run())


def test_bytes_go_both_ways_and_a_close_ends_the_pair() -> None:
    with relay() as server, endpoints(server, "a", "b") as (a, b):
        with path(b, a, "a") as (one, other):
            assert (one.peer, other.peer, one.direct, other.direct) == ("a", "b", False, False)
            assert server.pairs == 1
            sent = secrets.token_bytes(1 << 20)
            with ThreadPoolExecutor(1) as pool:
                sending = pool.submit(one.connection.sendall, sent)
                assert other.connection.recv(len(sent), socket.MSG_WAITALL) == sent
                sending.result()
            other.connection.sendall(b"last words")
            other.connection.close()
            assert one.connection.recv(100) == b"last words"
            assert one.connection.recv(100) == b""
        wait_until(lambda: server.pairs == 0)


def test_two_on_one_host_need_no_relay() -> None:
    with relay() as server, endpoints(server, "a", "b", punches=True) as (a, b):
        assert (a.kind, b.kind) == ("open", "open")
        with path(a, b, "b") as (one, other):
            assert one.direct
            assert other.direct
            assert one.connection.getpeername() == other.connection.getsockname()
            wait_until(lambda: server.pairs == 0)


def test_many_pairs_at_once() -> None:
    names = [str(number) for number in range(10)]
    # All of them take turns on a machine that others use, too.
    patient = relay(Limits(proof_s=60.0, answer_s=60.0))
    with (
        patient as server,
        endpoints(server, *names, within_s=60.0) as opened,
        ThreadPoolExecutor(45) as pool,
    ):
        calls = {
            (one, other): pool.submit(opened[one].reach, str(other))
            for one in range(10)
            for other in range(one)
        }
        for (one, other), calling in calls.items():
            calling.result().connection.sendall(f"{one} to {other}".encode())
        for other, endpoint in enumerate(opened):
            for _ in range(9 - other):
                came = endpoint.accept(60.0)
                with came.connection:
                    assert came.connection.recv(100).decode() == f"{came.peer} to {other}"
        assert server.pairs == 45
        for calling in calls.values():
            calling.result().connection.close()


def send_until_full(connection: socket.socket) -> int:
    connection.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 30:
            sent += connection.send(bytes(1 << 20))
    return sent


def test_a_receiver_that_does_not_read_slows_its_sender_and_nobody_else() -> None:
    with contextlib.ExitStack() as cleanup:
        server = cleanup.enter_context(relay())
        a, b, c = cleanup.enter_context(endpoints(server, "a", "b", "c"))
        full, slow = cleanup.enter_context(path(a, b, "b"))
        one, other = cleanup.enter_context(path(a, c, "c"))
        sent = send_until_full(full.connection)
        assert sent < 1 << 30
        one.connection.sendall(b"past them")
        assert other.connection.recv(100) == b"past them"

        slow.connection.settimeout(PATIENCE_S)
        received = 0
        while received < sent:
            received += len(slow.connection.recv(1 << 20))
        assert received == sent


def test_a_stranger_is_not_let_in() -> None:
    with relay() as server, pytest.raises(CommunicatorError, match="does not let thief in"):
        NatEndpoint(config(server, "thief", secret=secrets.token_bytes(32)))


def test_what_poses_as_a_relay_is_found_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def lie() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"x" * 100)

        fake = threading.Thread(target=lie)
        fake.start()
        lying = NatConfig(listener.getsockname(), "job", 1, "a", NatKeys.of(SECRET, "job", 1))
        with pytest.raises(WireError, match="no Elevon"):
            NatEndpoint(lying)
        fake.join()


def test_no_relay_is_told() -> None:
    with relay() as server:
        gone = config(server, "a")
    with pytest.raises(CommunicatorError, match=r"relay at 127\.0\.0\.1:\d+ is not there"):
        NatEndpoint(gone)


@pytest.mark.parametrize(
    "noise",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, (70).to_bytes(4, "little") + bytes(70)],
    ids=["silence", "another protocol", "a great length", "a false proof"],
)
def test_strangers_have_few_places_and_little_time(noise: bytes) -> None:
    with relay(Limits(unauthenticated=3, proof_s=0.5)) as server:
        strangers = [socket.create_connection((server.host, server.port)) for _ in range(3)]
        # Each hears a challenge and no more, and is closed.
        for stranger in strangers:
            stranger.settimeout(PATIENCE_S)
            with stranger, contextlib.suppress(ConnectionError):
                stranger.sendall(noise)
                while stranger.recv(1000):
                    pass
        # Half a second may be too little for an honest one, too, where others have the cores.
        wait_until(lambda: is_let_in(server))


def is_let_in(server: RelayServer) -> bool:
    try:
        NatEndpoint(config(server, "a")).close()
    except CommunicatorError:
        return False
    return True


def test_a_crowd_of_strangers_is_turned_away() -> None:
    with relay(Limits(unauthenticated=2, proof_s=PATIENCE_S)) as server:
        crowd = [socket.create_connection((server.host, server.port)) for _ in range(3)]
        with contextlib.ExitStack() as cleanup:
            for stranger in crowd:
                cleanup.enter_context(stranger).settimeout(PATIENCE_S)
            assert [len(stranger.recv(1000)) > 0 for stranger in crowd] == [True, True, False]


def test_only_registered_ranks_can_be_called() -> None:
    with relay() as server, endpoints(server, "a") as (a,):
        with pytest.raises(CommunicatorError, match="no rank is registered as b"):
            a.reach("b")
        with endpoints(server, "b") as (b,), path(a, b, "b"):
            pass
        wait_until(lambda: not can_call(a, "b"))


def can_call(endpoint: NatEndpoint, name: str) -> bool:
    try:
        endpoint.reach(name).connection.close()
    except CommunicatorError:
        return False
    return True


def test_a_living_rank_keeps_its_name() -> None:
    reason = "a: a living rank has this name"
    with (
        relay() as server,
        endpoints(server, "a"),
        pytest.raises(CommunicatorError, match=reason),
    ):
        NatEndpoint(config(server, "a"))


def test_epochs_do_not_meet() -> None:
    with (
        relay() as server,
        endpoints(server, "a") as (old,),
        endpoints(server, "b", epoch=2) as (new,),
    ):
        with pytest.raises(CommunicatorError, match="no rank is registered as a"):
            new.reach("a")
        with pytest.raises(CommunicatorError, match="epoch 1 of job is over, epoch 2 has begun"):
            old.reach("b")


def test_a_callee_that_does_not_answer_costs_the_caller_a_limited_time() -> None:
    with relay(Limits(answer_s=0.3)) as server:
        attend = Register(job="job", epoch=1, name="deaf")
        call = Call(job="job", epoch=1, name="a", to="deaf")
        observed, refused = on_request(server, attend, call)

        assert isinstance(observed, Observed)
        assert observed.second_port == server.second_port
        assert refused == Refused("deaf did not answer within 0.3 s")
        wait_until(lambda: server.pairs == 0)


def test_the_number_of_pairs_is_limited() -> None:
    with relay(Limits(pairs=1)) as server, endpoints(server, "a", "b", "c") as (a, b, c):
        full = "all 1 places for pairs are taken"
        with path(a, b, "b"), pytest.raises(CommunicatorError, match=full):
            c.reach("b")
        wait_until(lambda: server.pairs == 0)
        with path(c, b, "b"):
            pass


def test_the_number_of_registered_ranks_is_limited() -> None:
    with (
        relay(Limits(registered=1)) as server,
        endpoints(server, "a"),
        pytest.raises(CommunicatorError, match="too many are registered"),
    ):
        NatEndpoint(config(server, "b"))


def test_the_number_of_allocations_is_limited() -> None:
    with relay(Limits(allocations=1)) as server:
        first, second = on_request(server, *[Allocate(job="job", epoch=1)] * 2)

        assert isinstance(first, Observed)
        assert second == Refused("too many allocations are held here already")
        wait_until(
            lambda: isinstance(on_request(server, Allocate(job="job", epoch=1))[0], Observed)
        )


@pytest.mark.parametrize(
    "later",
    [
        Call(job="job2", epoch=1, name="thief", to="b"),
        Call(job="job", epoch=1, name="a", to="b", offer=bytes(1025)),
        Call(job="job", epoch=1, name="a", to=""),
        Register(job="job", epoch=1, name="a"),
    ],
    ids=["another group", "a long offer", "no name", "another request"],
)
def test_on_an_allocation_not_just_anything_may_be_asked(later: AnyRequest) -> None:
    async def say(server: RelayServer) -> None:
        with bind_shared() as connection:
            channel = await send_request(
                config(server, "a"), Allocate(job="job", epoch=1), connection
            )
            await channel.receive(FROM_RELAY)
            await channel.send(later)
            with pytest.raises(OSError, match=r"closed|reset"):
                await asyncio.wait_for(channel.receive(FROM_RELAY), PATIENCE_S)

    with relay() as server, endpoints(server, "b"):
        asyncio.run(say(server))
        wait_until(lambda: server.pairs == 0)


def test_an_answer_needs_a_call_of_its_own_group() -> None:
    async def steal(server: RelayServer) -> list[FromRelay]:
        """Somebody of another group answers with the right number, then who was meant does."""
        member = config(server, "tester")
        other = NatConfig(member.relay, "job2", 1, "thief", NatKeys.of(SECRET, "job2", 1))
        with (
            bind_shared() as registering,
            bind_shared() as calling,
            bind_shared() as stealing,
            bind_shared() as answering,
        ):
            register = Register(job="job", epoch=1, name="b")
            registered = await send_request(member, register, registering)
            await registered.receive(FROM_RELAY)
            call = Call(job="job", epoch=1, name="a", to="b")
            called = await send_request(member, call, calling)
            incoming = await registered.receive(FROM_RELAY)
            assert isinstance(incoming, IncomingCall)
            assert incoming.caller == "a"
            theft = Answer(job="job2", epoch=1, call=incoming.call)
            stolen = await (await send_request(other, theft, stealing)).receive(FROM_RELAY)
            answer = Answer(job="job", epoch=1, call=incoming.call)
            answered = await send_request(member, answer, answering)
            return [stolen, *[await channel.receive(FROM_RELAY) for channel in (answered, called)]]

    with relay() as server:
        nobody = Answer(job="job", epoch=1, call=bytes(16))
        refused = Refused("no call waits for this answer any more")
        assert on_request(server, nobody) == [refused]
        stolen, *joined = asyncio.run(steal(server))
        assert stolen == refused
        assert all(isinstance(word, Joined) for word in joined)


def test_a_member_that_vanishes_ends_its_pair() -> None:
    with relay() as server, endpoints(server, "a", "b") as (a, b):
        with path(a, b, "b") as (one, other):
            # A reset, as from a process that is killed with data unread.
            linger = (1).to_bytes(4, "little") + bytes(4)
            one.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            one.connection.close()
            other.connection.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                assert other.connection.recv(1) == b""
        wait_until(lambda: server.pairs == 0)


def test_an_endpoint_outlives_its_relay_and_finds_the_next() -> None:
    with contextlib.ExitStack() as cleanup:
        with relay() as server:
            a, b = cleanup.enter_context(endpoints(server, "a", "b"))
        with pytest.raises(
            CommunicatorError, match=r"cannot be reached|not let a in|is gone|is not there"
        ):
            a.reach("b")
        wait_until(lambda: bool(a.trouble and b.trouble))
        with relay(port=server.port) as again:
            wait_until(lambda: not (a.trouble or b.trouble))
            with path(a, b, "b") as (one, _):
                assert again.pairs == 1
                assert one.peer == "b"


def test_a_relay_that_stops_cuts_its_pairs() -> None:
    with contextlib.ExitStack() as cleanup:
        with relay() as server:
            a, b = cleanup.enter_context(endpoints(server, "a", "b"))
            one, other = cleanup.enter_context(path(a, b, "b"))
        for end in (one, other):
            end.connection.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                assert end.connection.recv(1) == b""


def test_a_closed_endpoint_is_closed() -> None:
    with relay() as server, endpoints(server, "a", "b") as (a, b):
        waiting = a.reach("b")
        b.close()
        b.close()
        with pytest.raises(UsageError, match="closed"):
            b.accept(PATIENCE_S)
        with pytest.raises(UsageError, match="closed"):
            b.reach("a")
        waiting.connection.settimeout(PATIENCE_S)
        with waiting.connection, contextlib.suppress(ConnectionResetError):
            assert waiting.connection.recv(1) == b""
        with pytest.raises(TimeoutError, match="no rank connected with a within"):
            a.accept(0.05)


@pytest.mark.parametrize("name", ["", "n" * 81])
def test_names_have_a_length(name: str) -> None:
    request = Register(job="job", epoch=1, name=name)
    with pytest.raises(UsageError, match="1 to 80 characters"):
        encode_request(request)


@pytest.mark.parametrize("said", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa5Steal"])
def test_what_is_not_a_request_is_refused(said: bytes) -> None:
    with pytest.raises(WireError, match="not a request"):
        decode_request(said)
