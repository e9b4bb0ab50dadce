"""Joining a group, whatever kind of rendezvous its address names."""

from __future__ import annotations

from typing import Protocol

from elevon.comm.connect.redis import is_redis
from elevon.comm.connect.rendezvous import client, redis_client
from elevon.comm.connect.rendezvous.messages import GroupName, JoinReply, JoinRequest


class Membership(Protocol):
    """A slot of a group, held as long as this is open."""

    reply: JoinReply

    def complete(self) -> None:
        """Say that all earlier members are connected, and wait for all others."""

    def close(self) -> None:
        """Give the slot up."""


def join(address: str, name: GroupName, key: bytes, request: JoinRequest) -> Membership:
    """Join a group at a rendezvous.

    Args:
        address: "host:port" of a rendezvous, or "redis://host:port/db".
        name: the group.
        key: its joining key.
        request: what this rank wants.

    Returns:
        The membership; its reply names the members to dial.

    Raises:
        UsageError: a field of ``request`` is out of bounds.
        CommunicatorError: there is no place, or no rendezvous at the address.
        WireError: what answers does not know the key, or took us for one that does not.
    """
    if is_redis(address):
        return redis_client.join(address, name, key, request)
    return client.join(address, name, key, request)
