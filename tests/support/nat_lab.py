"""Houses behind NATs on one machine: network namespaces, and a bridge that plays the internet.

Each house has a router of its own, made by the kernel's own NAT (nftables), and clients behind it.
All houses use the same private network, as real ones do: a private address that is dialed from
another house leads nowhere, or to the wrong machine. What the laboratory makes has names of its
own, and is gone when the block is left, also when a test fails. It needs root.

The kernel may lack netem, so loss is a rule of the router, and delay a wire of our own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.support.nat_wire import wire

WITHIN_S = 10.0
PUBLIC_ADDRESS = "203.0.113.1"
PRIVATE_NETWORK = "192.168.1"
# The neighbour tables of all namespaces share one limit.
MOST_HOUSES = 24

_numbers = itertools.count()

Mapping = Literal["cone", "symmetric"]
MASQUERADE: dict[Mapping, str] = {"cone": "persistent", "symmetric": "fully-random"}


@dataclass(frozen=True, slots=True)
class House:
    """A router and who is behind it.

    Attributes:
        mapping: cone keeps the port of a client towards everybody, symmetric draws a new one for
            each destination.
        clients: how many.
        refuses: answers strangers with a reset instead of silence.
        forgets_s: drops a mapping that was idle for so long; None leaves days.
        loss_percent: of the packets that it forwards.
        delay_s: that its line to the public side takes, each way.
    """

    mapping: Mapping = "cone"
    clients: int = 1
    refuses: bool = False
    forgets_s: int | None = None
    loss_percent: int = 0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace with one address."""

    namespace: str
    address: str

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs there."""
        return ["ip", "netns", "exec", self.namespace, *arguments]


@dataclass(frozen=True, slots=True)
class Router(Place):
    """A house's router, as the public side sees it."""

    def mappings(self) -> str:
        """What it keeps in mind, a connection a line."""
        return _run(self.command("cat", "/proc/net/nf_conntrack"))

    def wait_for(self, part: str, gone: bool = False) -> None:
        """Return when a mapping has this part, or none has any more."""
        deadline = time.monotonic() + WITHIN_S
        while (part in self.mappings()) == gone:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{part!r} is {'still' if gone else 'not'} in {self.mappings()}")
            time.sleep(0.02)  # the kernel tells nobody

    def shut_out(self, other: Place) -> None:
        """Let nothing through to another address."""
        rule = f"insert rule ip house passing ip daddr {other.address} drop"
        _run(self.command("nft", rule))

    def dropped(self) -> int:
        """How many packets its loss has taken."""
        rules = _run(self.command("nft", "list", "chain", "ip", "house", "passing"))
        found = re.search(r"numgen .* counter packets (\d+)", rules)
        return int(found[1]) if found else 0


@dataclass
class Laboratory:
    """All places.

    Attributes:
        public: where servers are.
        clients: house by house.
        routers: of the houses.
    """

    public: Place
    clients: list[Place] = field(default_factory=list)
    routers: list[Router] = field(default_factory=list)


def missing() -> str:
    """Why there can be no laboratory here, or ""."""
    if os.geteuid() != 0:
        return "a NAT laboratory needs root"
    absent = [tool for tool in ("ip", "nft", "sysctl") if shutil.which(tool) is None]
    return f"a NAT laboratory needs {' and '.join(absent)}" if absent else ""


@contextlib.contextmanager
def laboratory(*houses: House) -> Iterator[Laboratory]:
    """Houses on one bridge; gone when the block is left."""
    if len(houses) > MOST_HOUSES:
        raise ValueError(f"at most {MOST_HOUSES} houses fit on one bridge, not {len(houses)}")
    name = f"elv{os.getpid()}x{next(_numbers)}"
    with contextlib.ExitStack() as cleanup:
        lab = Laboratory(_public(cleanup, f"{name}p"))
        for number, house in enumerate(houses):
            router = _router(cleanup, f"{name}r{number}", number, house, lab.public)
            lab.routers.append(router)
            for client in range(house.clients):
                lab.clients.append(_client(cleanup, f"{name}c{number}x{client}", client, router))
        yield lab


def _public(cleanup: contextlib.ExitStack, name: str) -> Place:
    _namespace(cleanup, name)
    _ip(
        name,
        "link add name net type bridge",
        f"addr add {PUBLIC_ADDRESS}/24 dev net",
        "link set net up",
    )
    return Place(name, PUBLIC_ADDRESS)


def _router(
    cleanup: contextlib.ExitStack, name: str, number: int, house: House, public: Place
) -> Router:
    _namespace(cleanup, name)
    outside = f"203.0.113.{number + 10}"
    port = f"h{number}"
    if house.delay_s:
        _delayed_line(cleanup, name, public, port, house.delay_s)
    else:
        _ip(name, f"link add name wan type veth peer name {port} netns {public.namespace}")
    _ip(
        name,
        f"addr add {outside}/24 dev wan",
        "link set wan up",
        "link add name lan type bridge",
        f"addr add {PRIVATE_NETWORK}.1/24 dev lan",
        "link set lan up",
    )
    _ip(public.namespace, f"link set {port} master net up")
    router = Router(name, outside)
    _run(router.command("nft", "-f", "-"), _rules(house))
    _run(router.command("sysctl", "-qw", *_settings(house)))
    return router


def _delayed_line(
    cleanup: contextlib.ExitStack, name: str, public: Place, port: str, delay_s: float
) -> None:
    inside, outside = f"i{port}x{os.getpid()}", f"o{port}x{os.getpid()}"
    cleanup.enter_context(wire(inside, outside, delay_s))
    _run(["ip", "link", "set", inside, "netns", name, "name", "wan"])
    _run(["ip", "link", "set", outside, "netns", public.namespace, "name", port])


def _client(cleanup: contextlib.ExitStack, name: str, number: int, router: Place) -> Place:
    _namespace(cleanup, name)
    address = f"{PRIVATE_NETWORK}.{number + 2}"
    wire = f"c{number}"
    _ip(
        name,
        f"link add name eth type veth peer name {wire} netns {router.namespace}",
        f"addr add {address}/24 dev eth",
        "link set eth up",
        f"route add default via {PRIVATE_NETWORK}.1",
    )
    _ip(router.namespace, f"link set {wire} master lan up")
    return Place(name, address)


def _rules(house: House) -> str:
    stranger = "reject with tcp reset" if house.refuses else "drop"
    loss = (
        f"numgen random mod 100 < {house.loss_percent} counter drop" if house.loss_percent else ""
    )
    return f"""
        table ip house {{
            chain leaving {{
                type nat hook postrouting priority srcnat;
                oifname "wan" masquerade {MASQUERADE[house.mapping]}
            }}
            chain router {{
                type filter hook input priority filter;
                iifname "wan" ip protocol tcp ct state new,invalid {stranger}
            }}
            chain passing {{
                type filter hook forward priority filter;
                iifname "wan" ct state new drop
                {loss}
            }}
        }}
    """


def _settings(house: House) -> list[str]:
    settings = ["net.ipv4.ip_forward=1"]
    if house.forgets_s is not None:
        # A router that has forgotten a connection does not take it up again in the middle.
        timeout = f"net.netfilter.nf_conntrack_tcp_timeout_established={house.forgets_s}"
        settings += [timeout, "net.netfilter.nf_conntrack_tcp_loose=0"]
    return settings


def _namespace(cleanup: contextlib.ExitStack, name: str) -> None:
    _run(["ip", "netns", "add", name])
    cleanup.callback(_run, ["ip", "netns", "del", name])
    _ip(name, "link set lo up")


def _ip(namespace: str, *commands: str) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], "\n".join(commands) + "\n")


def _run(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=WITHIN_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
