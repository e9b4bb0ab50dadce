"""Bad input costs the call that brought it: a DescriptionError, and nothing else has happened.

Every public verb is called with every hostile value in every place, alone (all of them, always)
and together (drawn). What is not refused has to come through the wire as it was sent.
"""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import UsageError
from elevon.model.pilots import PilotDescription
from elevon.model.shown import LONGEST_SHOWN, shown
from elevon.model.tasks import OPTION_NAMES, TaskOptions
from tests.support.client import Client
from tests.support.hostile import TABLE, VALUES, verbs

EXAMPLES = 2000
LONGEST_MESSAGE = 20_000


def try_call(client, verb, given):
    """Whether the call was refused; if so, nothing must have happened."""
    owners = {
        "tasks": client.tasks,
        "task": client.task,
        "options": client.task.options(priority=1),
    }
    before = client.state()
    try:
        verb.call(owners[verb.owner], given)
    except UsageError as error:
        said = str(error)
    else:
        return False
    assert client.state() == before
    assert len(said.encode()) < LONGEST_MESSAGE
    return True


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Client(tmp_path_factory.mktemp("client")) as client:
        client.task = client.tasks.from_arrow(TABLE)
        yield client


@contextlib.contextmanager
def blamed(call):
    """A failure says which call it was."""
    try:
        yield
    except BaseException as error:
        raise AssertionError(call) from error


VERBS = verbs()
HERE = "{0.owner}.{0.name}".format


@pytest.mark.parametrize("verb", VERBS, ids=HERE)
def test_the_good_values_are_good(client, verb):
    """Or else what the tests below see refused could be refused for another reason."""
    posted = len(client.posted)
    assert not try_call(client, verb, {}) or verb.name == "explain"
    if verb.name not in ("explain", "options", "submit_tasks"):
        assert len(client.posted) > posted


@pytest.mark.parametrize("verb", VERBS, ids=HERE)
def test_one_hostile_value_costs_one_call(client, verb):
    # The same options go the same way from every verb: two verbs have them all tried.
    everywhere = verb.name in ("options", "groupby")
    slots = [slot for slot in verb.slots if everywhere or slot[2:] not in OPTION_NAMES]
    for slot in slots:
        for name, make in VALUES.items():
            with blamed(f"{HERE(verb)}({slot}={name})"):
                try_call(client, verb, {slot: make()})


# Hypothesis looks at what it draws, which hostile values do not bear: it draws how to make them.
makers = st.sampled_from(list(VALUES.values())) | st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "L"])),
    st.integers(),
    st.floats(),
    st.binary(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=6,
    ),
).map(lambda value: lambda: value)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_hostile_values_together_cost_one_call(client, data):
    verb = data.draw(st.sampled_from(VERBS))
    slots = data.draw(st.lists(st.sampled_from(verb.slots), unique=True, max_size=4))
    made = {slot: data.draw(makers) for slot in slots}
    try_call(client, verb, {slot: make() for slot, make in made.items()})


@pytest.fixture(scope="module")
def huge():
    return "x" * 200_000_000


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.owner == "tasks"], ids=HERE)
def test_a_text_of_200_mb_is_refused_at_once(client, huge, verb):
    # What is pickled is not refused before 64 MB of it are: a third of a second each.
    forms = (huge,) if verb.name == "submit" else (huge, (huge, "sum"), [huge], {"k": huge})
    for slot in verb.slots:
        for value in forms:
            refused = try_call(client, verb, {slot: value})
            assert refused or slot[2:] in OPTION_NAMES


@pytest.mark.parametrize("kind", [TaskOptions, PilotDescription])
def test_descriptions_by_hand_are_as_safe(kind):
    for field in kind.__struct_fields__:
        for name, make in VALUES.items():
            with blamed(f"{kind.__name__}({field}={name})"), contextlib.suppress(UsageError):
                made = kind(**{field: make()})
                assert msgspec.json.decode(msgspec.json.encode(made), type=kind) == made


def test_every_value_can_be_shown():
    for name, make in VALUES.items():
        with blamed(name):
            assert len(shown(make()).encode()) <= 4 * LONGEST_SHOWN
