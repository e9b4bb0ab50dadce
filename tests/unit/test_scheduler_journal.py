"""The journal: what is written is read again, and replaying it gives the same scheduler."""

from __future__ import annotations

import sqlite3

import pytest

from elevon.agent.journal import FORMAT, Journal, replay
from elevon.agent.scheduling.scheduler import Scheduler
from elevon.errors import WireError
from elevon.model.outcomes import FailureKind
from tests.support.scheduler import Rig


def story():
    """A rig that has seen every kind of event."""
    rig = Rig(ranks=4, per_node=2)
    rig.read("a", ranks=2, priority=3, timeout_s=2.5, retries=1, name="näme")
    rig.sort("b", "a", ranks=4, after=("a",))
    rig.join_tables("c", "a", "b", ranks=2)
    rig.finish("a")
    rig.release("a")
    rig.gone(rig.gang("a")[0])
    rig.part("b", 1, rows=5)
    rig.fail("b", 2, kind=FailureKind.ABORTED)
    rig.fail("b", 3)
    rig.call("f", returns="all", ranks=2)
    rig.time_out("f")
    rig.cancel("c")
    rig.world_gone(culprit=1)
    for rank in range(3):
        rig.join(rank)
    rig.call("g", "f")
    return rig


def test_what_is_appended_is_replayed_in_order(tmp_path):
    rig = story()
    journal = Journal(tmp_path / "journal.sqlite")
    journal.append(rig.events[:5])
    journal.append([])
    journal.append(rig.events[5:])
    assert list(replay(tmp_path / "journal.sqlite")) == rig.events, "while it is open for writing"
    journal.close()
    journal.close()
    assert list(replay(tmp_path / "journal.sqlite")) == rig.events


def test_replaying_gives_the_same_state_and_the_same_commands(tmp_path):
    rig = story()
    journal = Journal(tmp_path / "j")
    journal.append(rig.events)
    journal.close()
    again = Scheduler(ranks=4, communicator_cache=8)
    commands = [command for event in replay(tmp_path / "j") for command in again.step(event)]
    assert commands == rig.log
    assert again.snapshot() == rig.scheduler.snapshot()
    assert again.statistics() == rig.scheduler.statistics()


def test_a_snapshot_tells_schedulers_apart_and_does_not_change_with_them():
    rig = Rig()
    rig.read("a", ranks=2)
    before = rig.scheduler.snapshot()
    rig.part("a", 0)
    assert rig.scheduler.snapshot() != before
    assert Rig().scheduler.snapshot() != before


def test_a_journal_that_is_opened_again_goes_on(tmp_path):
    events = story().events
    for part in (events[:3], events[3:]):
        journal = Journal(tmp_path / "j")
        journal.append(part)
        journal.close()
    assert list(replay(tmp_path / "j")) == events


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    events = story().events
    journal = Journal(tmp_path / "j")
    journal.append(events[:2])
    with pytest.raises(TypeError):
        journal.append([*events[2:4], object()])
    other = sqlite3.connect(tmp_path / "j")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO events (body) VALUES (x'00')")
    other.rollback()
    other.close()
    journal.append(events[4:5])
    journal.close()
    assert list(replay(tmp_path / "j")) == [*events[:2], events[4]]


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("this is text, and long enough to look like a database" * 20)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE x (y)")
    other.commit()
    other.close()
    for name in ("text", "other"):
        with pytest.raises(WireError, match="is no journal"):
            list(replay(tmp_path / name))
        with pytest.raises(WireError, match="is no journal"):
            Journal(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no journal at"):
        list(replay(tmp_path / "nothing"))


def test_a_journal_of_another_release_is_refused(tmp_path):
    Journal(tmp_path / "j").close()
    database = sqlite3.connect(tmp_path / "j")
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    with pytest.raises(WireError, match=f"format {FORMAT + 1}"):
        list(replay(tmp_path / "j"))


def test_an_empty_file_is_an_empty_journal(tmp_path):
    (tmp_path / "j").touch()
    assert list(replay(tmp_path / "j")) == []
