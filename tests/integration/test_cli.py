"""The command line as it is called: real processes, real pilots, bounded times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import elevon as ev
from elevon.bench import comm_ranks
from elevon.cli import flights_check, root, synthetic_data
from elevon.model.outcomes import PHASES

ROOT = Path(__file__).parents[2]
LIMIT_S = 100
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.timeout(LIMIT_S + 20)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, with a short name: Unix sockets lie under it."""
    return tmp_path_factory.mktemp("h")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "elevon", *arguments],
            env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return call


@pytest.fixture(scope="module")
def living(home: Path):
    """(session, pilot, a task that has ended) on a pilot that the command line can find."""
    with ev.Session(root=home / ".elevon" / "sessions") as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=2))
        pilot.wait(60)
        tasks = ev.TaskManager(session, pilots=[pilot])
        task = tasks.options(ranks=2, name="greet").submit(print, "hello from a rank", flush=True)
        task.result(60)
        yield session, pilot, task


def json_of(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---------------------------------------------------------------- the root


@pytest.mark.no_mpi
def test_help_lists_the_commands_and_loads_none() -> None:
    code = """
import sys
from elevon.cli import root
try:
    root.command.main(["--help"])
except SystemExit:
    print(*(name for name in sys.modules), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    heavy = {"numpy", "pyarrow", "zmq", "msgspec", "mpi4py", "pandas"}
    assert not heavy & set(done.stdout.split())
    assert all(f"  {name} " in done.stdout for name in root.COMMANDS)


@pytest.mark.no_mpi
def test_every_command_has_a_help(run: Run) -> None:
    for name in root.COMMANDS:
        command = root.command.get_command(None, name)
        assert command is not None, name
        assert command.help, name
    assert "overhead" in run("bench", "--help").stdout


@pytest.mark.no_mpi
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nosuch"], "No such command"),
        (["demo", "--rows", "1.5"], "not a whole number"),
        (["demo", "--rows", "many"], "not a number"),
        (["demo", "--ranks", "0"], "at least 1"),
        (["demo", "--communicator", "pigeon"], "pigeon"),
        (["bench", "overhead", "--tasks", "-1"], "at least 1"),
    ],
)
def test_a_wrong_call_is_told_in_a_line(run: Run, arguments: list[str], word: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.no_mpi
@pytest.mark.parametrize("command", ["logs", "report"])
def test_an_unknown_session_is_told_without_a_traceback(run: Run, command: str) -> None:
    done = run(command, "session.nosuch")

    assert done.returncode == 1
    assert "'session.nosuch'" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- demo


def reference(rows: int) -> tuple[int, str]:
    """Count and checksum of the synthetic join, by pandas."""
    left, right = (
        synthetic_data.rows_of(side, rows, 0, rows).to_pandas()
        for side in (synthetic_data.LEFT, synthetic_data.RIGHT)
    )
    joined = left.merge(right, on="k")
    table = pa.Table.from_pandas(joined, preserve_index=False)
    return len(joined), f"{synthetic_data.row_sum(table):016x}"


@pytest.mark.parametrize(("rows", "ranks"), [(200_000, 1), (200_000, 2), (200_000, 3), (5, 4)])
def test_the_synthetic_demo_gives_what_pandas_gives(run: Run, rows: int, ranks: int) -> None:
    found = json_of(run("demo", "--rows", str(rows), "--ranks", str(ranks), "--json"))

    assert (found["rows_joined"], found["checksum"]) == reference(rows)
    assert 0 < found["first_task_s"] <= found["wall_s"]
    assert {"join", "sort"} <= {task["name"] for task in found["tasks"]}
    for task in found["tasks"]:
        assert task["ranks"] == ranks
        assert set(task["phases"]) == set(PHASES)
        assert sum(task["phases"].values()) == pytest.approx(task["wall_s"], rel=0.02)


@pytest.mark.no_mpi
def test_the_demo_on_flights_is_equal_to_pandas(run: Run) -> None:
    done = run("demo")

    assert done.returncode == 0, done.stderr
    assert "joined rows: 336,776" in done.stdout
    assert "1301      HA      51    JFK  HNL" in done.stdout
    assert "Execution time and overheads" in done.stdout
    assert done.stdout.splitlines()[-1] == "checked against pandas: equal"


@pytest.mark.no_mpi
def test_the_demo_fails_where_pandas_disagrees(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = flights_check.pandas_join
    monkeypatch.setattr(flights_check, "pandas_join", lambda path: honest(path).iloc[1:])
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["elevon", "demo", "--ranks", "2"])

    with pytest.raises(SystemExit) as ended:
        root.main()

    assert ended.value.code == 1
    assert "checked against pandas: NOT equal: 336,776 rows" in capsys.readouterr().err


# ---------------------------------------------------------------- bench


@pytest.mark.parametrize(("ranks", "sizes"), [(3, [2, 3]), (2, [2]), (1, [1])])
def test_the_overhead_bench_has_its_keys(run: Run, ranks: int, sizes: list[int]) -> None:
    found = json_of(run("bench", "overhead", "--ranks", str(ranks), "--tasks", "5", "--json"))

    assert 0 < found["start_s"] < LIMIT_S
    assert [gang["ranks"] for gang in found["gangs"]] == sizes
    for gang in found["gangs"]:
        assert gang["tasks"] == 5
        for name in ("communicator_s", "communicator_cached_s", "entry_s", "entry_cached_s"):
            assert 0 <= gang[name]["p50"] <= gang[name]["p99"] < 10
        assert gang["communicator_s"]["p50"] < gang["entry_s"]["p50"]
    assert found["throughput"]["tasks_per_s"] > 0


@pytest.mark.no_mpi
def test_bench_kernels_agrees_with_every_peer(run: Run) -> None:
    peers = "duckdb,polars,pyarrow,pandas"
    arguments = ("--rows", "2e4", "--threads", "1,2", "--repeats", "1", "--peers", peers)
    found = json_of(run("bench", "kernels", *arguments, "--keys", "string,int32", "--json"))

    assert found["rows"] == 20_000
    assert 0 < found["copy_gb_per_s"] < found["read_gb_per_s"] * 3
    for op in ("join", "sort"):
        of_op = [each for each in found["results"] if each["op"] == op]
        seen = [(each["engine"], each["threads"]) for each in of_op]
        many = ("elevon", "duckdb", "polars", "pyarrow")
        assert seen == [*((name, n) for name in many for n in (1, 2)), ("pandas", 1)]
        assert len({(each["rows_out"], each["checksum"]) for each in of_op}) == 1
        for each in of_op:
            assert 0 < each["min_s"] <= each["median_s"]
            assert each["peak_rss_bytes"] > each["in_bytes"]


@pytest.mark.no_mpi
def test_bench_kernels_says_what_it_does_not_know(run: Run) -> None:
    done = run("bench", "kernels", "--keys", "int65")

    assert done.returncode == 2
    assert "'int65' is none of int64, int32" in done.stderr


@pytest.mark.parametrize(("op", "kind"), [("join", "mpi"), ("sort", "tcp-sockets")])
def test_bench_distributed_agrees_with_the_local_kernel(run: Run, op: str, kind: str) -> None:
    arguments = (
        "--op",
        op,
        "--communicator",
        kind,
        "--rows",
        "3e4",
        "--repeats",
        "2",
        "--scaling",
        "weak",
    )
    found = json_of(run("bench", "distributed", *arguments, "--ranks", "1,3", "--json"))

    assert [each["ranks"] for each in found["results"]] == [1, 3]
    assert [each["rows"] for each in found["results"]] == [30_000, 90_000]
    for each in found["results"]:
        assert (each["op"], each["communicator"]) == (op, kind)
        assert each["median_s"] > 0
        assert each["local_median_s"] > 0
        assert each["rows_out"] > 0
        assert each["peak_rss_bytes"] > each["base_rss_bytes"] > 0


def test_bench_rendezvous_brings_groups_of_each_size_together(run: Run) -> None:
    found = json_of(run("bench", "rendezvous", "--ranks", "1,8", "--joins", "16", "--json"))

    assert [(each["ranks"], each["joins"]) for each in found["results"]] == [(1, 16), (8, 16)]
    assert all(each["seconds"] > 0 and each["joins_per_s"] > 0 for each in found["results"])


# pytest-mpi takes a test whose id is "mpi" for one that is to run inside mpiexec.
@pytest.mark.parametrize("kind", ["mpi", "tcp-sockets"], ids=["over MPI", "over sockets"])
def test_bench_comm_measures_and_checks_every_collective(run: Run, kind: str) -> None:
    found = json_of(run("bench", "comm", "--kind", kind, "--ranks", "2", "--json"))

    assert found["raw_socket_gb_per_s"] > 0
    assert found["raw_both_ways_gb_per_s"] > 0
    assert found["memcpy_gb_per_s"] > 0
    sizes = [(each["op"], each["bytes"]) for each in found["results"]]
    assert sizes == [(call.op, call.size) for call in comm_ranks.CALLS]
    for each in found["results"]:
        assert (each["kind"], each["ranks"]) == (kind, 2)
        assert each["p50_s"] > 0
        assert (each["gb_per_s"] > 0) == (each["op"] != "barrier")


# ---------------------------------------------------------------- doctor, status, logs, report


def test_the_doctor_finds_this_machine_well(run: Run) -> None:
    found = json_of(run("doctor", "--json"))

    assert found["ok"]
    names = [check["name"] for check in found["checks"]]
    assert {"python", "kernels", "mpi", "mpiexec", "loopback", "pilot"} <= set(names)
    assert not [check for check in found["checks"] if not check["ok"] or check["advice"]]


def test_status_knows_living_and_ended_pilots(run: Run, living, home: Path) -> None:
    session, pilot, _ = living
    with ev.Session(root=home / ".elevon" / "sessions") as other:
        ended = ev.PilotManager(other).submit(ev.PilotDescription(ranks=1))
        ended.wait(60)
    found = {entry["pilot"]: entry for entry in json_of(run("status", "--json"))["pilots"]}

    assert found[pilot.id]["state"] == "active"
    assert found[pilot.id]["session"] == session.id
    assert (found[pilot.id]["ranks_alive"], found[pilot.id]["ranks"]) == (2, 2)
    assert found[ended.id]["state"] == "ended"
    lines = run("status").stdout.splitlines()
    assert [line.split()[4] for line in lines if pilot.id in line] == ["active"]


@pytest.mark.no_mpi
def test_a_directory_of_another_release_does_not_hide_the_others(
    run: Run, living, home: Path
) -> None:
    _, pilot, _ = living
    stranger = home / ".elevon" / "sessions" / "session.0ld" / "pilot.0ld"
    stranger.mkdir(parents=True)
    (stranger / "pilot.json").write_text('{"ranks": "three"}')
    done = run("status", "--json")
    (stranger / "pilot.json").unlink()

    assert pilot.id in {entry["pilot"] for entry in json_of(done)["pilots"]}
    assert f"left out: {stranger}" in done.stderr


@pytest.mark.no_mpi
def test_asking_does_not_end_or_keep_a_pilot(run: Run, living) -> None:
    _, pilot, _ = living
    assert run("status").returncode == 0
    assert run("status").returncode == 0

    assert pilot.state is ev.PilotState.ACTIVE


@pytest.mark.no_mpi
def test_logs_shows_what_a_rank_has_printed(run: Run, living) -> None:
    session, pilot, _ = living
    for wanted in (session.id, pilot.id[:-2], str(pilot.directory), str(session.directory)):
        done = run("logs", wanted)
        assert done.returncode == 0, done.stderr
        assert f"==> {pilot.directory / 'agent.log'} <==" in done.stdout
        assert "hello from a rank" in done.stdout


@pytest.mark.no_mpi
def test_report_is_made_from_the_journal(run: Run, living) -> None:
    session, _, task = living
    done = run("report", session.id)
    assert done.returncode == 0, done.stderr
    assert "greet" in done.stdout
    found = json_of(run("report", session.id, "--json"))

    (row,) = (row for row in found["tasks"] if row["task"] == task.id)
    assert (row["name"], row["ranks"], row["state"]) == ("greet", 2, "done")
    assert len(row["parts"]) == 2
    assert sum(row["phases"].values()) == pytest.approx(row["wall_s"], rel=0.02)


@pytest.mark.no_mpi
def test_explain_asks_the_agent(run: Run, living) -> None:
    session, pilot, task = living
    done = run("explain", task.id, session.id)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{pilot.id}: ")
    assert task.id in done.stdout
