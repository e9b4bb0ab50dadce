"""Both sides prove that they know a key; everything else is refused."""

from __future__ import annotations

import secrets

import pytest

from elevon.comm.connect.rendezvous.messages import GroupKeys, GroupName, rendezvous_secret
from elevon.comm.security import proof
from elevon.errors import WireError

KEY = secrets.token_bytes(32)
CLAIM = b"I am rank 3"


def body(made: proof.Proof) -> bytes:
    return made.message[proof.PREFIX_BYTES :]


def test_both_sides_come_to_the_same_end() -> None:
    challenge = proof.challenge()
    made = proof.prove(challenge, KEY, CLAIM)

    found = proof.check(challenge, body(made), KEY)

    assert found == made
    assert found.claim == CLAIM
    assert proof.length_of(made.message[: proof.PREFIX_BYTES], 1000) == len(body(made))
    proof.check_challenge(challenge)
    proof.check_answer(made, found.answer)


def test_another_key_is_refused_by_both() -> None:
    challenge, other = proof.challenge(), secrets.token_bytes(32)
    made = proof.prove(challenge, KEY, CLAIM)

    with pytest.raises(WireError, match="does not know the secret"):
        proof.check(challenge, body(made), other)
    with pytest.raises(WireError, match="does not know the secret"):
        proof.check_answer(made, proof.prove(challenge, other, CLAIM).answer)


def test_a_recorded_proof_is_worth_nothing() -> None:
    made = proof.prove(proof.challenge(), KEY, CLAIM)

    with pytest.raises(WireError):
        proof.check(proof.challenge(), body(made), KEY)


def test_a_reflected_proof_is_worth_nothing() -> None:
    challenge = proof.challenge()
    made = proof.prove(challenge, KEY, CLAIM)
    sent = body(made)

    with pytest.raises(WireError):
        proof.check_answer(made, sent[proof.NONCE_BYTES : proof.NONCE_BYTES + proof.CODE_BYTES])


@pytest.mark.parametrize("at", [0, 31, 32, 63, 64, -1])
def test_a_changed_bit_is_seen(at: int) -> None:
    challenge = proof.challenge()
    changed = bytearray(body(proof.prove(challenge, KEY, CLAIM)))
    changed[at] ^= 1

    with pytest.raises(WireError):
        proof.check(challenge, bytes(changed), KEY)


@pytest.mark.parametrize("length", [0, 1, 63])
def test_what_is_too_short_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="no proof"):
        proof.check(proof.challenge(), bytes(length), KEY)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2".ljust(40), b"ELVP\x63\x00\x00\x00" * 5])
def test_who_else_answers_is_told_apart(answer: bytes) -> None:
    with pytest.raises(WireError, match=r"no Elevon|version 99"):
        proof.check_challenge(answer)


def test_an_announced_length_has_a_limit() -> None:
    with pytest.raises(WireError, match="1025 bytes where 1024 are allowed"):
        proof.length_of((1025).to_bytes(4, "little"), 1024)


def test_messages_have_their_place() -> None:
    ours, theirs = proof.Seal(KEY, "there"), proof.Seal(KEY, "there")
    sealed = [ours.seal(text) for text in (b"one", b"two", b"three")]
    parts = [(text[4:36], text[36:]) for text in sealed]

    assert theirs.open(*parts[0]) == b"one"
    for code, payload in (parts[0], parts[2], (parts[1][0], b"tvo")):
        with pytest.raises(WireError, match="changed"):
            proof.Seal(KEY, "there").open(code, payload) if payload != b"one" else theirs.open(
                code, payload
            )
    with pytest.raises(WireError):
        proof.Seal(KEY, "back").open(*parts[0])


def test_purposes_do_not_run_into_each_other() -> None:
    assert proof.derive(KEY, "a1", "2") != proof.derive(KEY, "a", "12")
    assert proof.derive(KEY, "a") != proof.derive(KEY, "a", "")
    with pytest.raises(ValueError, match="32 bytes"):
        proof.derive(b"short", "a")


def test_each_group_has_its_keys_and_the_rendezvous_only_one_of_them() -> None:
    first, next_epoch = (GroupKeys.of(KEY, GroupName("job", epoch)) for epoch in (1, 2))

    assert len({first.joining, first.peering, next_epoch.joining, next_epoch.peering}) == 4
    assert proof.derive(rendezvous_secret(KEY), "job", "1") == first.joining
    assert first.joining.hex() not in repr(first)
