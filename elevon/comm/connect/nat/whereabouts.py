"""What a NAT does to a rank, and which addresses of another are worth a try.

Pure: values in, values out.

A NAT is classified by two observations of one local port, made by two ports of the relay. One that
shows the same address to both keeps it for everybody (cone), and what was observed can be dialed.
One that shows two has drawn a new port for each destination (symmetric), and nobody can know the
next.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

import msgspec

from elevon.errors import WireError

Address: TypeAlias = tuple[str, int]
Kind = Literal["open", "cone", "symmetric"]


class Whereabouts(msgspec.Struct, frozen=True):
    """Where one local port of a rank is.

    Attributes:
        kind: of the NAT in front of it; open is none.
        private: as the rank itself sees it.
        observed: as the relay sees it.
        punches: whether it tries for direct connections.
        encrypts: whether it can speak TLS, as what goes through the relay has to.
    """

    kind: Kind
    private: Address
    observed: Address
    punches: bool = True
    encrypts: bool = True


def kind_of(private: Address, first: Address, second: Address) -> Kind:
    """The kind of NAT that shows ``private`` as these two to two servers."""
    if first != second:
        return "symmetric"
    return "open" if first == private else "cone"


def is_worth_punching(one: Whereabouts, other: Whereabouts) -> bool:
    """Whether a direct connection can come about; the same for both ends.

    A symmetric NAT is no hindrance towards somebody who has none, nor where both are behind the
    same one: there the private addresses do.
    """
    if not (one.punches and other.punches):
        return False
    if one.observed[0] == other.observed[0]:
        return True
    kinds = {one.kind, other.kind}
    return "open" in kinds or "symmetric" not in kinds


def candidates(mine: Whereabouts, theirs: Whereabouts) -> tuple[Address, ...]:
    """Where to dial the other, best first.

    All homes use the same few private networks, so the other's private address may be our own;
    dialed from the same port, that would connect us to ourselves, and from another one it costs
    hundreds of refusals. Only who is seen at our own address may be on our own host.
    """
    own = (mine.private, mine.observed)
    elsewhere = mine.observed[0] != theirs.observed[0]
    found = dict.fromkeys((theirs.private, theirs.observed))
    return tuple(
        address
        for address in found
        if address not in own and not (elsewhere and address[0] == mine.private[0])
    )


def check(whereabouts: Whereabouts) -> Whereabouts:
    """The same, if it can be dialed.

    Raises:
        WireError: an address is none.
    """
    for host, port in (whereabouts.private, whereabouts.observed):
        try:
            fits = ipaddress.ip_address(host).version == 4 and 0 < port < 65_536
        except ValueError:
            fits = False
        if not fits:
            raise WireError(f"{host!r}, port {port}, is no address of IPv4: nobody can dial it")
    return whereabouts
