"""The check of a direct connection by both sides, before one of them nominates it.

Each side sends a number and a code of the attempt's key over it, behind that 128 KiB that the other
can foretell, and when all of the other's have come a code over both numbers: "I am of this attempt,
and your bytes arrived". Nothing waits for an answer in between, so all of it takes as long as TCP
takes for 128 KiB: its window starts at ten packets, and doubles with each round trip.

Only the first dozen KiB leave before the other side is known: TCP would send no more until then,
and a stranger at an address that we were given costs no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import socket

from elevon.comm.connect.nat.channel import receive, send
from elevon.comm.security import proof
from elevon.errors import WireError

TEST_BYTES = 128 * 1024
BLIND_BYTES = 12 * 1024
HELLO_BYTES = proof.NONCE_BYTES + proof.CODE_BYTES
_SIDES = ("first", "second")


class ConnectivityCheck:
    """One side of the check.

    Args:
        connection: non-blocking; stays the caller's.
        key: 32 bytes that only the two have, fresh for this attempt.
        first: which of the two sides this is.
    """

    def __init__(self, connection: socket.socket, key: bytes, first: bool) -> None:
        self._connection = connection
        self._key = key
        self._mine, self._theirs = _SIDES if first else reversed(_SIDES)
        self._nonce = secrets.token_bytes(proof.NONCE_BYTES)
        self._final_key = b""

    async def test(self) -> None:
        """Authenticate, have the other side do it, and move the test's bytes both ways.

        Raises:
            OSError: the other side is gone.
            WireError: it is not of this attempt, or what came is not what was sent.
        """
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(self._send(known))
        try:
            nonce = await self._receive_hello()
            known.set_result(None)
            received = await receive(self._connection, TEST_BYTES)
            await sending
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        if not hmac.compare_digest(received, self._pattern(self._theirs, nonce)):
            raise WireError("what arrives is not what was sent")
        numbers = {self._mine: self._nonce.hex(), self._theirs: nonce.hex()}
        self._final_key = proof.derive(self._key, "final", *(numbers[side] for side in _SIDES))

    async def confirm(self) -> None:
        """Tell the other side that all of its bytes are here; from the first, that it is taken."""
        await send(self._connection, self._final(self._mine))

    async def confirmed(self) -> None:
        """Wait until the other side has told the same.

        Raises:
            OSError: it is gone.
            WireError: it has told something else.
        """
        said = await receive(self._connection, proof.CODE_BYTES)
        if not hmac.compare_digest(said, self._final(self._theirs)):
            raise WireError("the other side has not confirmed what it got")

    async def _send(self, known: asyncio.Future[None]) -> None:
        pattern = self._pattern(self._mine, self._nonce)
        hello = self._nonce + self._hello(self._mine, self._nonce)
        await send(self._connection, hello + pattern[:BLIND_BYTES])
        await known
        await send(self._connection, pattern[BLIND_BYTES:])

    async def _receive_hello(self) -> bytes:
        said = await receive(self._connection, HELLO_BYTES)
        nonce, code = said[: proof.NONCE_BYTES], said[proof.NONCE_BYTES :]
        if not hmac.compare_digest(code, self._hello(self._theirs, nonce)):
            raise WireError("the other side does not know the key of this attempt")
        return nonce

    def _hello(self, side: str, nonce: bytes) -> bytes:
        return proof.derive(self._key, "hello", side, nonce.hex())

    def _final(self, side: str) -> bytes:
        return proof.derive(self._final_key, side)

    def _pattern(self, side: str, nonce: bytes) -> bytes:
        # Not from the key: what a stranger may see has nothing to do with it.
        return hashlib.shake_128(side.encode() + nonce).digest(TEST_BYTES)
