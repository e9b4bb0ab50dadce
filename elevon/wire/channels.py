"""Authenticated channels: many peers at a Router, one agent at a Dealer.

A frame is a msgpack array of messages of one direction. CURVE with an allow-list authenticates a
peer before any of its bytes is decoded; nothing is dropped silently (no high-water mark, and an
unknown peer is an error of the sender).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

import msgspec
import zmq

from elevon.errors import DescriptionError
from elevon.wire.keys import KeyPair

LOOPBACK = "tcp://127.0.0.1"
_Out = TypeVar("_Out", bound=msgspec.Struct)
_In = TypeVar("_In", bound=msgspec.Struct)
_encoder = msgspec.msgpack.Encoder()


class Unreadable(msgspec.Struct, frozen=True):
    """Stands for a message that an authenticated peer sent and that cannot be decoded here.

    Whoever receives it answers, so that what was in the message ends with ``reason``.

    Attributes:
        content: the message as plain values, as far as it is msgpack at all; else None. The first
            of an array is the message's tag.
        reason: why it cannot be decoded.
    """

    content: Any
    reason: str

    @property
    def tag(self) -> str:
        """The name of the message, or ""."""
        is_message = isinstance(self.content, list) and len(self.content) > 0
        return self.content[0] if is_message and isinstance(self.content[0], str) else ""

    def field(self, index: int) -> Any:
        """The message's field, or None where it has none."""
        return self.content[index + 1] if self.tag and index + 1 < len(self.content) else None

    def __str__(self) -> str:
        return f"{self.tag or 'a message without a name'} cannot be read: {self.reason}"


def encode(message: msgspec.Struct) -> msgspec.Raw:
    """One message, ready to be put into a frame.

    Raises:
        DescriptionError: a value in it has no form on the wire.
    """
    try:
        return msgspec.Raw(_encoder.encode(message))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise DescriptionError(
            f"{type(message).__name__} holds a value that cannot be sent: {error}"
        ) from error


class _AllowList:
    """Lets in the one public key that belongs to a domain's other side."""

    def __init__(self, public: str) -> None:
        self._public = public.encode()

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._public


class Authority:
    """Answers the sockets of one zmq context: may this key come in? Runs a thread of its own."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        # Only agents need it, and it brings all of asyncio along: a client starts sooner without.
        from zmq.auth.thread import ThreadAuthenticator

        self._thread = ThreadAuthenticator(context)
        self._thread.start()

    def allow(self, domain: str, public: str) -> None:
        """Let the holder of one key into the sockets of one domain, and nobody else."""
        self._thread.configure_curve_callback(domain, credentials_provider=_AllowList(public))

    def close(self) -> None:
        """Stop the thread."""
        self._thread.stop()


class Router(Generic[_In, _Out]):
    """The agent's side: receives from and sends to many peers, each known by its identity."""

    def __init__(
        self,
        context: zmq.Context[Any],
        *,
        keys: KeyPair,
        domain: str,
        incoming: Any,
        address: str = LOOPBACK,
    ) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.curve_server = True
        self.socket.curve_publickey = keys.public.encode()
        self.socket.curve_secretkey = keys.secret.encode()
        self.socket.zap_domain = domain.encode()
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.linger = 1000
        self.socket.router_mandatory = True
        # A rank that restarts takes over its identity at once.
        self.socket.router_handover = True
        self.socket.bind(f"{address}:*")
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._decoder = msgspec.msgpack.Decoder(list[incoming])

    def send(self, peer: bytes, *messages: _Out) -> bool:
        """Send to one peer; False where it is not connected (its loss is told elsewhere)."""
        try:
            self.socket.send_multipart((peer, _encoder.encode(messages)))
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def receive_nowait(self) -> tuple[bytes, list[_In | Unreadable]] | None:
        """The next frame as (peer, messages), or None where nothing has come."""
        try:
            peer, *parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        # Of several parts nobody here makes one frame; no part at all is no frame either.
        frame = parts[0] if len(parts) == 1 else b""
        return peer, _decode(self._decoder, frame)

    def close(self) -> None:
        """Close, giving what is under way a second to leave."""
        self.socket.close()


class Dealer(Generic[_In, _Out]):
    """The client's or rank's side: one connection to the agent. Not thread-safe."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        *,
        identity: bytes,
        keys: KeyPair,
        server_public: str,
        incoming: Any,
    ) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.identity = identity
        self.socket.curve_serverkey = server_public.encode()
        self.socket.curve_publickey = keys.public.encode()
        self.socket.curve_secretkey = keys.secret.encode()
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.linger = 1000
        self.socket.connect(endpoint)
        self._decoder = msgspec.msgpack.Decoder(list[incoming])

    def send(self, *messages: _Out | msgspec.Raw) -> None:
        """Send messages, encoded already or not, in one frame."""
        self.socket.send(_encoder.encode(messages))

    def receive(self, timeout_s: float | None = None) -> list[_In | Unreadable]:
        """The next frame; empty where none came in time."""
        if timeout_s is not None and not self.socket.poll(max(0, int(timeout_s * 1000))):
            return []
        return _decode(self._decoder, self.socket.recv())

    def receive_nowait(self) -> list[_In | Unreadable]:
        """The next frame; empty where none has come."""
        try:
            return _decode(self._decoder, self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return []

    def close(self, linger_s: float = 1.0) -> None:
        """Close, giving what is under way some time to leave."""
        self.socket.close(linger=int(linger_s * 1000))


class Poller:
    """Waits for channels and plain file descriptors together."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def watch(self, thing: Router[Any, Any] | Dealer[Any, Any] | int) -> None:
        """Add a channel or a file descriptor."""
        self._poller.register(_pollable(thing), zmq.POLLIN)

    def forget(self, thing: Router[Any, Any] | Dealer[Any, Any] | int) -> None:
        """Take it out again."""
        self._poller.unregister(_pollable(thing))

    def wait(self, timeout_s: float | None) -> set[object]:
        """The file descriptors and zmq sockets with something to read."""
        timeout_ms = None if timeout_s is None else max(0, int(timeout_s * 1000 + 0.999))
        return {thing for thing, _ in self._poller.poll(timeout_ms)}


def _pollable(thing: Router[Any, Any] | Dealer[Any, Any] | int) -> Any:
    return thing if isinstance(thing, int) else thing.socket


def new_context(io_threads: int = 1) -> zmq.Context[Any]:
    """A zmq context of one process."""
    return zmq.Context(io_threads)


def end_context(context: zmq.Context[Any], deadline_s: float = 2.0) -> None:
    """Close whatever is still open and end the context within a bounded time."""
    started = time.monotonic()
    context.destroy(linger=int(max(0.0, deadline_s - (time.monotonic() - started)) * 1000))


def _decode(decoder: msgspec.msgpack.Decoder[list[_In]], frame: bytes) -> list[_In | Unreadable]:
    """All messages of a frame; one that cannot be read does not take the others with it."""
    try:
        return cast("list[_In | Unreadable]", decoder.decode(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_decode_one(decoder, message) for message in _split(frame)]


def _split(frame: bytes) -> list[msgspec.Raw]:
    try:
        return msgspec.msgpack.decode(frame, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return [msgspec.Raw(frame)]


def _decode_one(decoder: msgspec.msgpack.Decoder[list[_In]], message: msgspec.Raw) -> Any:
    try:
        return decoder.decode(_encoder.encode((message,)))[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable(_plain(message), str(error) or type(error).__name__)


def _plain(message: msgspec.Raw) -> Any:
    try:
        return msgspec.msgpack.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def encoded_size(messages: Iterable[msgspec.Struct]) -> int:
    """Bytes that a frame of these messages takes."""
    return len(_encoder.encode(tuple(messages)))
