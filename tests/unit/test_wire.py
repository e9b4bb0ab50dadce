"""Channels let in whom they should, and nobody else; the data plane hands memory over."""

from __future__ import annotations

import os
import socket
import stat
import threading

import msgspec
import pyarrow as pa
import pytest

from elevon.errors import DescriptionError, WireError
from elevon.frames.files import ipc
from elevon.wire.channels import (
    Authority,
    Dealer,
    Router,
    Unreadable,
    encode,
    end_context,
    new_context,
)
from elevon.wire.data import PartitionRequest, PartitionServer, fetch
from elevon.wire.keys import ConnectionFile, KeyPair, Keyring, read_connection, write_private
from elevon.wire.messages import (
    AgentMessage,
    ClientAlive,
    ClientHello,
    ClientMessage,
    Explain,
    PilotChanged,
)


@pytest.fixture
def context():
    context = new_context()
    yield context
    end_context(context)


@pytest.fixture
def keys():
    return Keyring.new()


@pytest.fixture
def router(context, keys):
    authority = Authority(context)
    authority.allow("clients", keys.client.public)
    router = Router(context, keys=keys.agent, domain="clients", incoming=ClientMessage)
    yield router
    router.close()
    authority.close()


def dial(context, router, keys, *, own, server_public=None):
    return Dealer(
        context,
        router.endpoint,
        identity=b"someone",
        keys=own,
        server_public=server_public or keys.agent.public,
        incoming=AgentMessage,
    )


def receive(router, timeout_ms=3000):
    assert router.socket.poll(timeout_ms), "nothing came"
    return router.receive_nowait()


def test_messages_go_both_ways(context, router, keys):
    dealer = dial(context, router, keys, own=keys.client)
    dealer.send(ClientHello("me"), ClientAlive())
    assert receive(router) == (b"someone", [ClientHello("me"), ClientAlive()])
    changed = PilotChanged("active", 4)
    router.send(b"someone", changed)
    assert [m.ranks_alive for m in dealer.receive(timeout_s=3)] == [4]
    dealer.close()


def test_router_listens_on_loopback_only(router):
    assert router.endpoint.startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize("who", ["unknown key", "another side's key", "wrong server key"])
def test_a_stranger_gets_no_byte_through(context, router, keys, who):
    own = {"unknown key": KeyPair.new(), "another side's key": keys.rank}.get(who, keys.client)
    server = KeyPair.new().public if who == "wrong server key" else None
    dealer = dial(context, router, keys, own=own, server_public=server)
    dealer.send(ClientHello("thief"))
    assert not router.socket.poll(500)
    dealer.close(linger_s=0)


def test_a_plain_socket_gets_no_byte_through(router):
    host, port = router.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=3) as peer:
        peer.sendall(b"\x80\x04pickle me" * 100)
        assert not router.socket.poll(500)


@pytest.mark.parametrize("parts", [[b"\xc1 not msgpack"], [b""], [b"\x90", b"\x90"], [b"\x01"]])
def test_a_frame_of_another_form_is_unreadable(context, router, keys, parts):
    dealer = dial(context, router, keys, own=keys.client)
    dealer.socket.send_multipart(parts)
    _, (message,) = receive(router)
    assert isinstance(message, Unreadable)
    assert message.reason
    assert message.tag == ""
    dealer.close()


def test_what_cannot_be_read_does_not_take_the_rest_of_its_frame_along(context, router, keys):
    frame = [["ClientHello", "me"], ["Explain", "seven", "t"], ["Nonsense"], ["ClientAlive"]]
    dealer = dial(context, router, keys, own=keys.client)
    dealer.socket.send(msgspec.msgpack.encode(frame))
    _, (hello, explain, nonsense, alive) = receive(router)
    assert (hello, alive) == (ClientHello("me"), ClientAlive())
    assert (explain.tag, explain.field(0), explain.field(1)) == ("Explain", "seven", "t")
    assert "int" in str(explain)
    assert (nonsense.tag, nonsense.field(0)) == ("Nonsense", None)
    dealer.close()


@pytest.mark.parametrize("value", [2**64, -(2**70), "\udc80", object(), 1j, {object(): 1}])
def test_what_has_no_form_on_the_wire_is_the_callers_error(value):
    with pytest.raises(DescriptionError, match="Explain holds a value"):
        encode(Explain(1, value))


def test_sending_to_a_peer_that_is_not_there_says_so(router):
    assert router.send(b"nobody", PilotChanged("active", 1)) is False


def test_connection_file_is_private_and_round_trips(tmp_path, keys):
    path = tmp_path / "connection.json"
    connection = ConnectionFile(session="s", pilot="p", directory=str(tmp_path), keys=keys)
    write_private(path, connection)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_connection(path) == connection
    assert keys.agent.secret not in repr(connection)


def test_connection_file_that_others_can_read_is_refused(tmp_path, keys):
    path = tmp_path / "connection.json"
    write_private(path, ConnectionFile(session="s", pilot="p", directory="d", keys=keys))
    path.chmod(0o644)
    with pytest.raises(WireError, match="others may read it"):
        read_connection(path)


def test_connection_file_of_another_version_is_refused(tmp_path, keys):
    path = tmp_path / "connection.json"
    old = ConnectionFile(version=0, session="s", pilot="p", directory="d", keys=keys)
    write_private(path, old)
    with pytest.raises(WireError, match="version 0"):
        read_connection(path)


@pytest.fixture
def served(tmp_path):
    tables = {"t1": pa.table({"a": range(1000), "b": [str(i) for i in range(1000)]})}

    def write(request, descriptor):
        ipc.write_stream(tables[request.key].slice(request.offset, request.rows), descriptor)

    server = PartitionServer(tmp_path / "data.sock", write)
    yield server, tables
    server.close()


def test_partitions_are_fetched_whole_and_in_slices(served):
    server, tables = served
    whole = ipc.read_stream(fetch(server.address, PartitionRequest("t1", 0, 1000)))
    assert whole == tables["t1"]
    part = ipc.read_stream(fetch(server.address, PartitionRequest("t1", 10, 5)))
    assert part == tables["t1"].slice(10, 5)


def test_a_fetched_table_outlives_its_server(served):
    server, tables = served
    table = ipc.read_stream(fetch(server.address, PartitionRequest("t1", 0, 1000)))
    server.close()
    assert table == tables["t1"]


def test_many_fetch_at_once_and_no_descriptor_is_left(served):
    server, _ = served
    before = len(os.listdir("/proc/self/fd"))
    results = []

    def work():
        for _ in range(10):
            view = fetch(server.address, PartitionRequest("t1", 0, 1000))
            results.append(ipc.read_stream(view).num_rows)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [1000] * 80
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_what_is_not_there_is_said(served):
    server, _ = served
    with pytest.raises(WireError, match="does not hold t2"):
        fetch(server.address, PartitionRequest("t2", 0, 1))


def test_a_server_that_is_gone_is_said(served):
    server, _ = served
    server.close()
    with pytest.raises(WireError, match="could not be fetched"):
        fetch(server.address, PartitionRequest("t1", 0, 1))


def test_a_lying_client_does_not_harm_the_server(served):
    server, _ = served
    path = server.address.removeprefix("unix:")
    for garbage in (b"\xff\xff\xff\xff" + b"x" * 100, b"\x05\x00\x00\x00hello", b"\x01"):
        with socket.socket(socket.AF_UNIX) as liar:
            liar.connect(path)
            liar.sendall(garbage)
    assert fetch(server.address, PartitionRequest("t1", 0, 1))


def test_a_socket_may_lie_deep(tmp_path):
    deep = tmp_path / ("x" * 120) / ("y" * 120)
    deep.mkdir(parents=True)
    server = PartitionServer(deep / "data.sock", lambda request, file: os.write(file, b"here"))
    assert bytes(fetch(server.address, PartitionRequest("t", 0, 1))) == b"here"
    server.close()


def test_every_message_survives_the_wire():
    union = ClientMessage
    decoder = msgspec.msgpack.Decoder(list[union])
    messages = [ClientHello("me"), ClientAlive()]
    assert decoder.decode(msgspec.msgpack.encode(messages)) == messages
