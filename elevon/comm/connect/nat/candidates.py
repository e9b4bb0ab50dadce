"""The addresses under which a rank may be reached, what its NAT does, and which are worth a try.

Pure: values in, values out.

A NAT is classified by two observations of one local port, made by two ports of the relay. One that
shows the same address to both keeps it for all destinations (cone), and what was observed can be
dialed. One that shows two has drawn a new port for each destination (symmetric), and the next
cannot be known.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

import msgspec

from elevon.errors import WireError

Address: TypeAlias = tuple[str, int]
NatKind = Literal["open", "cone", "symmetric"]


class PeerCandidates(msgspec.Struct, frozen=True):
    """The addresses of one local port of a rank.

    Attributes:
        kind: of the NAT in front of it; open is none.
        private: as the rank itself sees it.
        observed: as the relay sees it.
        punches: whether it tries for direct connections.
        encrypts: whether it can speak TLS, as what goes through the relay has to.
    """

    kind: NatKind
    private: Address
    observed: Address
    punches: bool = True
    encrypts: bool = True


def nat_kind_of(private: Address, first: Address, second: Address) -> NatKind:
    """The kind of NAT that shows ``private`` as these two to two servers."""
    if first != second:
        return "symmetric"
    return "open" if first == private else "cone"


def can_punch(one: PeerCandidates, other: PeerCandidates) -> bool:
    """Whether a direct connection can come about; the same for both ends.

    A symmetric NAT is no hindrance towards a rank that has none, nor where both are behind the same
    one: there the private addresses do.
    """
    if not (one.punches and other.punches):
        return False
    if one.observed[0] == other.observed[0]:
        return True
    kinds = {one.kind, other.kind}
    return "open" in kinds or "symmetric" not in kinds


def addresses_to_dial(mine: PeerCandidates, theirs: PeerCandidates) -> tuple[Address, ...]:
    """Where to dial the other, best first.

    All homes use the same few private networks, so the other's private address may be our own;
    dialed from the same port, that would connect us to ourselves, and from another one it costs
    hundreds of refusals. Only a rank that is seen at our own address may be on our own host.
    """
    own = (mine.private, mine.observed)
    elsewhere = mine.observed[0] != theirs.observed[0]
    found = dict.fromkeys((theirs.private, theirs.observed))
    return tuple(
        address
        for address in found
        if address not in own and not (elsewhere and address[0] == mine.private[0])
    )


def check(candidates: PeerCandidates) -> PeerCandidates:
    """The same, if it can be dialed.

    Raises:
        WireError: an address is not one.
    """
    for host, port in (candidates.private, candidates.observed):
        try:
            fits = ipaddress.ip_address(host).version == 4 and 0 < port < 65_536
        except ValueError:
            fits = False
        if not fits:
            raise WireError(
                f"{host!r}, port {port}, is not an address of IPv4: it cannot be dialed"
            )
    return candidates
