"""Bad input costs the call that brought it: a DescriptionError, and nothing else has happened.

Every public verb is called with every hostile value in every place, alone (all of them, always)
and together (drawn). What is not refused has to come through the wire as it was sent. With
``ELEVON_HOSTILE_EXAMPLES=2000`` in the environment more is drawn than in continuous integration.
"""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elevon.errors import UsageError
from elevon.model.pilots import PilotDescription
from elevon.model.shown import LONGEST_SHOWN, shown
from elevon.model.tasks import OPTION_NAMES, TaskOptions
from elevon.tasks.manager import TaskManager
from elevon.wire.messages import ClientMessage
from tests.support.hostile import TABLE, VALUES, verbs

EXAMPLES = int(os.environ.get("ELEVON_HOSTILE_EXAMPLES", "150"))
LONGEST_MESSAGE = 20_000

encoder = msgspec.msgpack.Encoder()
decoder = msgspec.msgpack.Decoder(list[ClientMessage])


class RecordingLink:
    """What would go to an agent, through the wire's own encoder and decoder."""

    def __init__(self) -> None:
        self.posted = 0

    def subscribe(self, receiver, mourner):
        pass

    def post(self, message):
        assert decoder.decode(encoder.encode([message])) == [message]
        self.posted += 1


class Client:
    """A TaskManager of a pilot that is not there."""

    def __init__(self, directory):
        self.closers = []
        session = SimpleNamespace(
            check_open=lambda: None, on_close=self.closers.append, directory=directory
        )
        self.link = RecordingLink()
        pilot = SimpleNamespace(id="pilot", description=PilotDescription(ranks=4), link=self.link)
        self.tasks = TaskManager(session, [pilot])
        self.task = self.tasks.from_arrow(TABLE)
        self.owners = {
            "tasks": self.tasks,
            "task": self.task,
            "options": self.task.options(priority=1),
        }

    def try_call(self, verb, given):
        """Whether the call was refused; if so, nothing must have happened."""
        before = self.state()
        try:
            verb.call(self.owners[verb.owner], given)
        except UsageError as error:
            said = str(error)
        else:
            return False
        assert self.state() == before
        assert len(said.encode()) < LONGEST_MESSAGE
        return True

    def state(self):
        """What the agent was sent, and what is served to it or waited for."""
        inner = self.tasks._dispatcher
        return self.link.posted, len(inner._uploads), len(inner._homes), len(inner._pending)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    client = Client(tmp_path_factory.mktemp("client"))
    yield client
    for closer in client.closers:
        closer(False)


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
    posted = client.link.posted
    assert not client.try_call(verb, {}) or verb.name == "explain"
    if verb.name not in ("explain", "options", "submit_tasks"):
        assert client.link.posted > posted


@pytest.mark.parametrize("verb", VERBS, ids=HERE)
def test_one_hostile_value_costs_one_call(client, verb):
    # The same options go the same way from every verb: two verbs have them all tried.
    everywhere = verb.name in ("options", "groupby")
    slots = [slot for slot in verb.slots if everywhere or slot[2:] not in OPTION_NAMES]
    for slot in slots:
        for name, make in VALUES.items():
            with blamed(f"{HERE(verb)}({slot}={name})"):
                client.try_call(verb, {slot: make()})


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
    client.try_call(verb, {slot: make() for slot, make in made.items()})


@pytest.fixture(scope="module")
def huge():
    return "x" * 200_000_000


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.owner == "tasks"], ids=HERE)
def test_a_text_of_200_mb_is_refused_at_once(client, huge, verb):
    # What is pickled is not refused before 64 MB of it are: a third of a second each.
    forms = (huge,) if verb.name == "submit" else (huge, (huge, "sum"), [huge], {"k": huge})
    for slot in verb.slots:
        for value in forms:
            refused = client.try_call(verb, {slot: value})
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
