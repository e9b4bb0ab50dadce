"""Ranks behind real NATs: who reaches whom directly, who needs the relay, and who is refused."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from elevon.testing.communicators import CONTRACT
from tests.support.nat import Crew, Member, crew
from tests.support.nat_collectives import EACH_ONCE
from tests.support.nat_lab import House, Laboratory, laboratory, missing

pytestmark = pytest.mark.no_mpi

CONE = House()
CURT = House(refuses=True)
FAR = House(refuses=True, delay_s=0.005)
SYMMETRIC = House("symmetric")
FORGETFUL = House(forgets_s=2)
# Aborts and deadlines are no matter of NATs.
CLAUSES = [
    clause.name for clause in CONTRACT if not clause.name.startswith(("abort in", "timeout in"))
]


@pytest.fixture(autouse=True)
def _tools() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def homes() -> Iterator[Laboratory]:
    """Two, with the commonest routers, for tests that leave them as they are."""
    if reason := missing():
        pytest.skip(reason)
    with laboratory(CONE, CONE) as lab:
        yield lab


def connect_all(members: list[Member]) -> list[str]:
    """Let all connect with each other; returns why the pairs are relayed, "" where they are not."""
    for member in members:
        member.hear("ready")
    for member in members:
        member.say()
    return [reason for member in members for reason in member.hear("paths").values()]


def all_whole(members: list[Member]) -> bool:
    return all(whole for member in members for whole in member.hear("whole").values())


def dialing(people: Crew, lab: Laboratory) -> tuple[list[Member], list[list[Any]]]:
    """Two ranks that punch with plain values, and where the relay has seen them."""
    one, other = (
        people.start(place, does="dial", first=first)
        for place, first in zip(lab.clients, (True, False), strict=True)
    )
    return [one, other], [one.hear("observed"), other.hear("observed")]


def joining(people: Crew, lab: Laboratory, **settings: Any) -> list[Member]:
    """Ranks in all houses that join one world, and then call some collectives."""
    return [
        people.start(
            place,
            does="join",
            name=str(slot),
            size=len(lab.clients),
            host=place.address,
            rendezvous=people.rendezvous,
            clauses=["alltoallv", "large alltoallv", "bcast"],
            **settings,
        )
        for slot, place in enumerate(lab.clients)
    ]


def plan(key: str, within_s: float, *targets: list[Any]) -> str:
    return json.dumps({"targets": targets, "key": key, "within_s": within_s})


def test_without_punching_there_is_no_connection(homes: Laboratory) -> None:
    """The other listens, and the address is right; its router has no reason to let anybody in."""
    with crew(homes.public) as people:
        (one, other), (_, there) = dialing(people, homes)
        key = secrets.token_bytes(32).hex()
        other.say(plan(key, 0.5))
        one.say(plan(key, 0.5, there))

        told = one.hear("error")
        assert "no direct connection with the other within 0.5 s" in told
        assert f"to {there[0]}:{there[1]}: no answer" in told
        assert "no direct connection" in other.hear("error")


def test_two_punch_with_plain_values(homes: Laboratory) -> None:
    """Nothing but addresses and a key."""
    with crew(homes.public) as people:
        (one, other), (here, there) = dialing(people, homes)
        key = secrets.token_bytes(32).hex()
        one.say(plan(key, 10.0, there))
        other.say(plan(key, 10.0, here))

        assert one.hear("peer") == there
        assert other.hear("peer") == here


def test_one_may_begin_later(homes: Laboratory) -> None:
    """The SYN that comes too early is lost; the kernel's next one, or the other's, is not."""
    with crew(homes.public) as people:
        (early, late), seen = dialing(people, homes)
        key = secrets.token_bytes(32).hex()
        early.say(plan(key, 10.0, seen[1]))
        homes.routers[0].wait_for(f"dst={seen[1][0]} ")
        late.say(plan(key, 10.0, seen[0]))

        assert early.hear("peer") == seen[1]
        assert late.hear("peer") == seen[0]


@pytest.mark.parametrize(
    "houses",
    [(CONE, CONE), (CURT, CONE), (House(clients=2),), (House("symmetric", 2),)],
    ids=["silent", "one refuses", "one house", "one symmetric house"],
)
def test_two_are_connected_directly(houses: tuple[House, ...]) -> None:
    with laboratory(*houses) as lab, crew(lab.public) as people:
        members = people.everybody(lab.clients)

        assert connect_all(members) == ["", ""]
        assert all_whole(members)
        assert people.relays(0)


def test_two_that_refuse_strangers_are_punched_at_a_distance() -> None:
    """A router that answers with a reset forgets its client's SYN: two have to meet on the way."""
    with laboratory(FAR, FAR) as lab, crew(lab.public) as people:
        members = people.everybody(lab.clients)

        assert connect_all(members) == ["", ""]
        assert all_whole(members)
        assert people.relays(0)


def test_a_public_rank_is_reached_from_behind_any_nat() -> None:
    with laboratory(SYMMETRIC, CONE) as lab, crew(lab.public) as people:
        members = people.everybody([lab.public, *lab.clients])

        reasons = connect_all(members)

        assert all_whole(members)
        # All but the pair of the two houses.
        assert sorted(reasons)[:4] == [""] * 4
        assert people.relays(1)


@pytest.mark.parametrize("other", [CONE, SYMMETRIC], ids=["cone", "symmetric"])
def test_what_cannot_be_punched_is_relayed(other: House) -> None:
    """The kind of NAT is known from the join, so nobody waits for an attempt to fail."""
    with laboratory(SYMMETRIC, other) as lab, crew(lab.public) as people:
        members = people.everybody(lab.clients, clauses=["alltoallv", "large alltoallv"])

        reasons = connect_all(members)

        assert all("symmetric NAT" in reason for reason in reasons)
        assert all_whole(members)
        assert people.relays(1)
        assert [member.hear("held") for member in members] == [2, 2]


def test_what_is_not_punched_in_time_is_relayed() -> None:
    """A relay that sees one address where there are many cannot know the kind."""
    with laboratory(CONE, CONE) as lab, crew(lab.public) as people:
        for router, other in zip(lab.routers, reversed(lab.routers), strict=True):
            router.shut_out(other)
        members = people.everybody(lab.clients, punch_s=0.5)

        reasons = connect_all(members)

        # Who was called is more patient by a second.
        assert sorted(reason.count("within 0.5 s") for reason in reasons) == [0, 1]
        assert sorted(reason.count("within 1.5 s") for reason in reasons) == [0, 1]
        assert all_whole(members)
        assert people.relays(1)


@pytest.mark.timeout(120)
def test_eight_houses_and_every_collective() -> None:
    """Once; two houses are held to the whole contract."""
    with laboratory(*[CONE] * 8) as lab, crew(lab.public) as people:
        members = people.everybody(lab.clients, clauses=[EACH_ONCE.name])

        assert connect_all(members) == [""] * 56
        assert all_whole(members)
        assert people.relays(0)
        assert [member.hear("held") for member in members] == [1] * 8


def test_two_houses_and_every_collective() -> None:
    with laboratory(CONE, CURT) as lab, crew(lab.public) as people:
        members = people.everybody(lab.clients, clauses=CLAUSES)

        assert connect_all(members) == ["", ""]
        assert [member.hear("held") for member in members] == [len(CLAUSES)] * 2


def test_who_does_not_belong_is_refused(homes: Laboratory) -> None:
    with crew(homes.public) as people:
        here, there = homes.clients
        stranger = people.start(here, name="stranger", secret=bytes(32).hex())
        assert "does not let stranger in" in stranger.hear("error")

        member = people.start(here, name="0", epoch=2, expects=1)
        member.hear("ready")
        thief = people.start(there, name="0", epoch=2)
        assert "a living rank has this name" in thief.hear("error")

        late = people.start(there, name="1", epoch=1)
        assert "epoch 1 of lab is over, epoch 2 has begun" in late.hear("error")


def test_a_replayed_handshake_is_refused(homes: Laboratory) -> None:
    """What an honest rank has said, said again by somebody else who has heard it."""
    with crew(homes.public) as people:
        here, there = homes.clients
        honest = people.start(here, relay=people.recorder)
        honest.hear("ready")
        recorded = people.ask("heard")
        assert b"Register" in bytes.fromhex(recorded)
        assert people.ask("registered") == 1
        honest.kill()
        assert people.comes_to("registered", 0)

        for place in (here, there):
            thief = people.start(place, does="replay", recorded=recorded)
            assert thief.hear("answered") == 0
        assert people.ask("registered") == 0


def test_a_liar_inside_the_relay_reaches_nobody(homes: Laboratory) -> None:
    """Who has the relay's own key, and no other, is as far as the relay itself could get."""
    with crew(homes.public) as people:
        honest = people.start(homes.clients[0], name="0", expects=1)
        liar = people.start(homes.clients[1], name="1", calls=["0"], pairing=bytes(32).hex())
        assert honest.hear("kind") == liar.hear("kind") == "cone"
        honest.say()
        liar.say()

        assert "0 does not take us for a member" in liar.hear("error")
        # The honest one is there for others as before.
        friend = people.start(homes.clients[1], name="2", calls=["0"])
        friend.hear("ready")
        friend.say()
        assert friend.hear("whole") == {"0": True}
        assert honest.hear("paths") == {"2": ""}


def test_an_idle_link_is_kept_alive() -> None:
    """Beyond the time after which a router forgets; without keepalive the link is dead then."""
    with laboratory(FORGETFUL, FORGETFUL) as lab, crew(lab.public) as people:
        alive = {"keepalive_idle_s": 1, "keepalive_every_s": 1}
        kept = people.everybody(lab.clients, **alive)
        # Only on the links themselves: those to the relay have to live until there are links.
        lost = people.everybody(lab.clients, job="lost", mute=True, **alive)
        assert connect_all(kept + lost) == [""] * 4
        assert all_whole(kept + lost)
        ports = [next(iter(member.hear("ports").values())) for member in kept + lost]

        one, other = lab.routers
        one.wait_for(f"dst={other.address} sport={ports[2]} ", gone=True)
        other.wait_for(f"dst={one.address} sport={ports[3]} ", gone=True)
        for member in kept:
            member.say("20")
        for member in lost:
            member.say("1.5")

        assert all_whole(kept)
        assert not any(one for member in lost for one in member.hear("whole").values())


def test_transfers_are_correct_where_packets_are_lost() -> None:
    lossy = House(loss_percent=5)
    with laboratory(lossy, lossy) as lab, crew(lab.public) as people:
        # One SYN in ten is lost; the kernel sends it again after 1, 3, 7, 15 and 31 s.
        members = people.everybody(lab.clients, bytes=1 << 20, punch_s=45.0)

        assert connect_all(members) == ["", ""]
        assert all_whole(members)
        assert sum(router.dropped() for router in lab.routers) > 0


def test_ranks_enter_their_world_from_behind_nats() -> None:
    """By the rendezvous, as ranks of a pilot do; only the symmetric one needs the relay."""
    with laboratory(CONE, CONE, SYMMETRIC) as lab, crew(lab.public) as people:
        members = joining(people, lab)
        assert [member.hear("joined") for member in members] == ["0", "1", "2"]
        assert people.relays(2)
        for member in members:
            member.say()

        assert [member.hear("held") for member in members] == [3, 3, 3]


def test_two_speak_tls_through_their_nats(homes: Laboratory) -> None:
    """Punched, so nothing but their own wish makes them."""
    with crew(homes.public) as people:
        members = joining(people, homes, tls=True)
        assert all("tls pump" in member.hear("threads") for member in members)
        assert people.relays(0)
        for member in members:
            member.say()

        assert [member.hear("held") for member in members] == [3, 3]
