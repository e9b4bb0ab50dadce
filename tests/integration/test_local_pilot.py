"""A local pilot's life: it starts, works, ends, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import as_completed, wait
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import elevon as ev
from elevon.errors import DescriptionError, PilotStartFailed, WireError
from elevon.wire.data import PartitionRequest, fetch
from elevon.wire.keys import read_connection
from tests.integration.conftest import processes_of

pytestmark = pytest.mark.timeout(120)


def test_functions_get_their_private_communicator(tasks):
    def who(comm, base):
        return base + int(comm.allreduce(1)), comm.rank, comm.size

    assert tasks.options(ranks=3).submit(who, 10).result(30) == (13, 0, 3)


def test_a_communicator_is_found_by_its_annotation(tasks):
    def total(group: ev.Communicator) -> int:
        return int(group.allreduce(group.rank))

    assert tasks.options(ranks=4).submit(total).result(30) == 6


def test_a_function_without_communicator_runs_on_every_rank(tasks):
    pids = tasks.options(ranks=4, returns="all").submit(os.getpid).result(30)
    assert len(set(pids)) == 4


def test_futures_are_arguments_and_the_standard_library_waits_for_them(tasks):
    first = tasks.submit(lambda: 20)
    second = tasks.submit(lambda x, y=0: x + y, first, y=1)
    third = tasks.options(ranks=2, returns="all").submit(lambda comm, x: x + comm.rank, second)
    fourth = tasks.submit(sum, third)
    assert fourth.result(30) == 43
    assert {t.result() for t in as_completed([first, second], timeout=30)} == {20, 21}
    assert not wait([first, second, third, fourth], timeout=30).not_done


def test_frames_join_sort_and_stay_on_the_ranks(tasks):
    left = tasks.from_arrow(pa.table({"k": range(1000), "a": range(1000)}), ranks=2)
    right = tasks.from_arrow(pa.table({"k": range(0, 2000, 2), "b": range(1000)}), ranks=3)
    joined = tasks.join(left, right, on="k", ranks=4)
    ordered = tasks.sort(joined, by="k", ascending=False, ranks=2)
    dataset = ordered.result(60)
    assert dataset.num_rows == 500
    assert dataset.num_partitions == 2
    assert dataset.column_names == ["k", "a", "b"]
    assert dataset.head(2).to_pydict() == {"k": [998, 996], "a": [998, 996], "b": [499, 498]}
    assert pa.table(dataset) == dataset.to_arrow()
    assert dataset.to_pandas()["k"].is_monotonic_decreasing


def test_a_dataset_arrives_as_this_ranks_partition(tasks):
    data = tasks.from_arrow(pa.table({"x": range(100)}), ranks=4)

    def local_sum(comm, table):
        return table.num_rows, int(comm.allreduce(sum(table["x"].to_pylist())))

    for ranks in (1, 3, 4):
        parts = tasks.options(ranks=ranks, returns="all").submit(local_sum, data).result(30)
        assert sum(rows for rows, _ in parts) == 100
        assert {total for _, total in parts} == {4950}


def test_a_function_may_return_a_dataset(tasks):
    def make(comm):
        return pa.table({"rank": [comm.rank] * 3})

    dataset = tasks.options(ranks=3, returns="dataset").submit(make).result(30)
    assert dataset.to_arrow()["rank"].to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_files_go_in_and_out(tasks, tmp_path):
    data = tasks.from_arrow(pa.table({"x": range(50)}), ranks=3).result(30)
    files = data.write_parquet(str(tmp_path / "out"))
    assert len(files) == 3
    again = tasks.read(tmp_path / "out", ranks=2).result(30)
    assert again.to_arrow()["x"].to_pylist() == list(range(50))


def test_a_table_of_the_client_is_an_input_as_it_is(tasks):
    result = tasks.sort(pa.table({"x": [3, 1, 2]}), by="x", ranks=2).result(30)
    assert result.to_arrow()["x"].to_pylist() == [1, 2, 3]


def test_a_batch_of_descriptions_names_its_own_inputs(tasks, tmp_path):
    from elevon.model.operations import Join, Read, Sort

    pq.write_table(pa.table({"k": range(10), "v": range(10)}), tmp_path / "t.parquet")
    read = Read((str(tmp_path / "t.parquet"),))

    def about(operation, name, *inputs, ranks=2):
        return ev.TaskDescription(
            operation=operation, inputs=inputs, options=ev.TaskOptions(name=name, ranks=ranks)
        )

    ordered, *_ = tasks.submit_tasks(
        [
            about(Sort(("k",), (False,)), "ordered", "joined", ranks=3),
            about(Join(("k",), ("k",)), "joined", "left", "right", ranks=4),
            about(read, "left"),
            about(read, "right", ranks=1),
        ]
    )
    assert ordered.result(30).to_arrow()["k"].to_pylist() == list(range(9, -1, -1))


def test_tasks_of_different_sizes_run_at_the_same_time(tasks):
    def meet(comm, seconds):
        import time

        started = time.monotonic()
        comm.barrier()
        time.sleep(seconds)
        return started, time.monotonic()

    one = tasks.options(ranks=1).submit(meet, 0.5)
    three = tasks.options(ranks=3).submit(meet, 0.5)
    (start_1, end_1), (start_3, end_3) = one.result(30), three.result(30)
    assert max(start_1, start_3) < min(end_1, end_3)


def test_explain_tells_what_a_task_waits_for(tasks):
    gate = tasks.options(ranks=4).submit(lambda comm: __import__("time").sleep(1.0))
    waiting = tasks.options(ranks=2).submit(lambda comm: None)
    assert "rank" in tasks.explain(waiting)
    wait([gate, waiting], timeout=30)
    assert "ended well" in tasks.explain(waiting)


def test_the_report_adds_up_to_the_wall_time(tasks):
    def work(comm):
        import time

        time.sleep(0.05)
        comm.barrier()

    started = time.monotonic()
    task = tasks.options(ranks=4, name="reported").submit(work)
    task.result(30)
    wall = time.monotonic() - started
    (row,) = [row for row in tasks.report().tasks if row.task == task.id]
    assert [part.rank for part in row.parts] == sorted(part.rank for part in row.parts)
    for part in row.parts:
        assert sum(part.phases.values()) == pytest.approx(row.wall_s, rel=0.02)
        assert all(seconds >= 0 for seconds in part.phases.values())
        assert part.phases["compute"] >= 0.04
    assert row.wall_s == pytest.approx(wall, abs=0.05)
    text = str(tasks.report())
    assert "reported" in text
    assert "communica" in text
    assert "reported" in tasks.report().to_csv()
    assert "reported" in tasks.report().to_json()


def test_released_datasets_leave_the_ranks(tasks):
    data = tasks.from_arrow(pa.table({"x": range(1000)}), ranks=2).result(30)
    address, name = data.partitions[0].address, data.id
    del data
    deadline = time.monotonic() + 10
    while held(address, name):
        assert time.monotonic() < deadline, "the partition is still there"


def held(address, name):
    try:
        return bool(fetch(address, PartitionRequest(name, 0, 1)))
    except WireError:
        return False


def test_a_pilot_ends_and_leaves_no_process_and_no_socket(tmp_path):
    with ev.Session(root=tmp_path) as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=2))
        tasks = ev.TaskManager(session, pilots=[pilot])
        assert tasks.options(ranks=2).submit(lambda comm: comm.size).result(60) == 2
        directory = pilot.directory
        assert len(processes_of(directory)) >= 3
    assert pilot.state is ev.PilotState.CANCELED
    assert processes_of(directory) == []
    assert list(Path(session.directory).rglob("*.sock")) == []
    with pytest.raises(DescriptionError, match="closed"):
        tasks.submit(lambda: 1)


def test_closing_cancels_what_runs(tmp_path):
    with ev.Session(root=tmp_path) as session:
        pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=1))
        tasks = ev.TaskManager(session, pilots=[pilot])
        pilot.wait(60)
        running = tasks.submit(lambda: __import__("time").sleep(60))
        waiting = tasks.submit(lambda: 1)
        started = time.monotonic()
    assert time.monotonic() - started < 8
    assert running.cancelled()
    assert waiting.cancelled()


def test_a_pilot_that_cannot_start_says_why(tmp_path):
    with ev.Session(root=tmp_path) as session:
        description = ev.PilotDescription(ranks=2, start_timeout_s=0.01)
        pilot = ev.PilotManager(session).submit(description)
        task = ev.TaskManager(session, pilots=[pilot]).submit(lambda: 1)
        with pytest.raises(PilotStartFailed, match=r"start"):
            pilot.wait(30)
        with pytest.raises(Exception, match="start"):
            task.result(30)


CLIENT = """
    import sys, time
    import elevon as ev
    session = ev.Session(root=sys.argv[1], detach=sys.argv[2] == "detach")
    pilot = ev.PilotManager(session).submit(ev.PilotDescription(ranks=2, client_grace_s=2.0))
    tasks = ev.TaskManager(session, pilots=[pilot])
    assert tasks.options(ranks=2).submit(lambda comm: comm.size).result(60) == 2
    try:
        print(pilot.directory, flush=True)  # from here on the client may be interrupted
        if sys.argv[2] == "wait":
            tasks.submit(time.sleep, 60).result()
    finally:
        session.close()
        print("closed", flush=True)
"""


def start_client(root, how):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CLIENT), str(root), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_gone(directory, seconds):
    deadline = time.monotonic() + seconds
    while (left := processes_of(directory)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.2)
    return left


def test_a_killed_client_leaves_no_process_behind(tmp_path):
    with start_client(tmp_path, "wait") as client:
        directory = client.stdout.readline().strip()
        assert processes_of(directory)
        client.kill()
    assert wait_until_gone(directory, 15) == []


def test_ctrl_c_ends_remote_work_first(tmp_path):
    client = start_client(tmp_path, "wait")
    directory = client.stdout.readline().strip()
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=20)
    assert "closed" in out
    assert "KeyboardInterrupt" in err
    assert processes_of(directory) == []


def test_a_detached_pilot_lives_on(tmp_path):
    with start_client(tmp_path, "detach") as client:
        directory = client.stdout.readline().strip()
    processes = processes_of(directory)
    try:
        assert len(processes) >= 3
        gone, _ = psutil.wait_procs(processes, timeout=4)
        assert gone == []
    finally:
        psutil.Process(read_connection(Path(directory) / "connection.json").agent_pid).terminate()
    assert wait_until_gone(directory, 10) == []
