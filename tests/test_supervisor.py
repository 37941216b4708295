"""The real supervisor as a program: it starts everything, keeps it alive, and leaves nothing behind.

One stack at a time, on a port and in a data directory of its own; processes are found by that directory in their
environment.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models import F

from scans.models import EVERYBODY, CountKind, DailyCount, RestartReason, WorkerHeartbeat
from scans.selectors.counts import count_sums
from scans.services import heartbeats
from scans.supervisor import watchdog
from scans.supervisor.child import LAUNCH, LONGEST_PAUSE_SECONDS, Child
from scans.supervisor.housekeeping import Housekeeping
from scans.supervisor.programs import clusters, web
from scans.supervisor.watchdog import DEATH_LOOKS, MOST_UNACKNOWLEDGED, STALL_LOOKS, START_LOOKS, Sight, Watchdog
from tests.factories import make_job
from tests.patience import PATIENCE
from tests.servers import listening, silent
from tests.stack import ROOT, Stack, becomes, environment, one_at_a_time, run

PROCESSES = 2 + 6 + 5  # gunicorn and its worker; per cluster main, guard, pusher, monitor and the workers


@pytest.fixture
def start(tmp_path):
    """Starts a stack; other processes of this test run wait their turn, and whatever a failed test leaves is killed."""
    stacks: list[Stack] = []

    def start_one(command: str = "up", **changes: str) -> Stack:
        stacks.append(Stack(tmp_path / "data", command, **changes))
        return stacks[-1]

    with one_at_a_time():
        yield start_one
        for stack in stacks:
            stack.kill()


# --- A whole life ------------------------------------------------------------------------------------------------


def test_up_serves_scans_and_leaves_nothing_behind_and_the_second_start_says_no_password(start):
    stack = start(SCAN_DB_PATH="", GEMINI_MODEL="gemini-of-this-test")
    assert becomes(stack.is_ready), stack.text()
    with listening() as port:
        token = stack.scan(ip_addresses=["127.0.0.1"], ports=[port])
        assert becomes(lambda: stack.is_complete(token))
    assert (found := re.search(r"admin, password (\S+)", stack.text()))
    assert can_log_in(stack, "admin", found[1])
    assert not can_log_in(stack, "admin", "another-password")
    assert becomes(lambda: len(stack.descendants()) == PROCESSES)
    stack.stop()
    assert stack.descendants() == {}

    first = stack.text()
    assert f"http://127.0.0.1:{stack.port}/\n" in first
    assert "Scan only what you may scan." in first
    assert "ip-api.com" not in first  # offline
    assert "GEMINI_API_KEY is not set, GEMINI_MODEL is set, SCAN_DB_PATH is not set" in first
    assert "gemini-of-this-test" not in first

    stack = start()
    assert becomes(stack.is_ready), stack.text()
    assert stack.is_complete(token)
    assert "password" in stack.text()
    assert found[1] not in stack.text()
    assert "shown only this once" not in stack.text()
    assert "changepassword admin" in stack.text()
    stack.process.send_signal(signal.SIGINT)  # Ctrl-C is the other way to stop
    assert stack.process.wait(PATIENCE) == 0
    assert stack.descendants() == {}


def can_log_in(stack: Stack, name: str, password: str) -> bool:
    form = stack.request("GET", "/admin/login/")
    cookie = SimpleCookie(form.headers["Set-Cookie"])["csrftoken"].value
    field = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)[1]
    body = urlencode({"username": name, "password": password, "csrfmiddlewaretoken": field, "next": "/admin/"})
    headers = {"Cookie": f"csrftoken={cookie}", "Content_Type": "application/x-www-form-urlencoded"}
    return stack.request("POST", "/admin/login/", body, **headers).status == 302


# --- Things that die ---------------------------------------------------------------------------------------------


def test_what_is_printed_works_what_is_kept_is_private_and_a_killed_supervisor_leaves_no_process(start, tmp_path):
    stack = start()
    assert becomes(stack.is_ready), stack.text()
    path, body = re.search(r"Submit +curl .* http://127\.0\.0\.1:\d+(\S+) .*-d '(.*)'", stack.text()).groups()
    assert stack.request("POST", path, body, Content_Type="application/json").status == 202
    kept = [tmp_path / "data", tmp_path / "data" / "scans.sqlite", tmp_path / "data" / "secret_key"]
    assert [oct(path.stat().st_mode & 0o777) for path in kept] == ["0o700", "0o600", "0o600"]

    assert becomes(lambda: len(stack.descendants()) == PROCESSES)
    os.kill(stack.process.pid, signal.SIGKILL)
    stack.process.wait(PATIENCE)
    assert becomes(lambda: not stack.descendants()), stack.descendants()


def test_a_stalled_cluster_and_a_killed_one_are_replaced_and_their_work_goes_on(start):
    stack = start(PROBE_ATTEMPTS="5")
    assert becomes(stack.is_ready), stack.text()
    with silent() as dark:
        tokens = [stack.scan(ip_addresses=["127.0.0.1"], ports=[dark.port])]  # takes ten seconds
        stalled = stack.cluster()
        assert becomes(lambda: is_at_work(stack, stalled))
        time.sleep(2.5)  # so that the watchdog has seen it too
        os.killpg(stalled, signal.SIGSTOP)  # lives and does nothing, as when its queue is locked for ever
        tokens.append(stack.scan(ip_addresses=["127.0.0.2"], ports=[dark.port]))
        assert becomes(lambda: has_other_cluster(stack, stalled)), stack.text()
        assert "the cluster scan does none of the work that waits: killed" in stack.text()

        killed = stack.cluster()
        assert becomes(lambda: is_at_work(stack, killed)), stack.text()
        os.kill(killed, signal.SIGKILL)
        assert becomes(lambda: has_other_cluster(stack, killed))
        assert becomes(lambda: "scan ended with code -9: started again in " in stack.text())
        dark.release()
        assert becomes(lambda: all(stack.is_complete(token) for token in tokens)), stack.text()
    assert becomes(lambda: are_counted(stack, "stalled", "killed")), metrics(stack)
    stack.stop()
    assert stack.descendants() == {}


def metrics(stack: Stack) -> str:
    return stack.request("GET", "/metrics").text


def are_counted(stack: Stack, *reasons: str) -> bool:
    """A machine that stalls for seconds may have made it more than one of each."""
    counted = re.findall(r'^ipscanner_restarts_total\{program="scan",reason="(\w+)"\} [1-9]', metrics(stack), re.MULTILINE)
    return set(reasons) <= set(counted)


def has_other_cluster(stack: Stack, former: int) -> bool:
    with suppress(ValueError):  # between the two there is none
        return stack.cluster() != former
    return False


def is_at_work(stack: Stack, cluster: int) -> bool:
    """Whether a living slice of the cluster beats."""
    with closing(sqlite3.connect(f"file:{stack.data_dir}/scans.sqlite?mode=ro", uri=True)) as database:
        pids = database.execute("SELECT pid FROM scans_workerheartbeat WHERE kind = 'slice'").fetchall()
    return any(is_running(pid) and os.getpgid(pid) == cluster for (pid,) in pids)


def test_a_web_server_that_never_comes_up_ends_it_all_with_the_reason(start):
    stack = start(WEB_CONCURRENCY="many")
    assert stack.process.wait(PATIENCE) == 1
    assert "The web server ended 4 times in a row" in stack.text()
    assert stack.descendants() == {}


def test_workers_alone_stop_in_time_with_a_scan_under_way_and_give_it_back(start, tmp_path):
    assert run(tmp_path / "data", "migrate").returncode == 0
    stack = start("worker", PROBE_ATTEMPTS="5")
    with silent() as dark:
        submit = "from scans.services.jobs import *; from scans.models import *; import sys;"
        submit += "items = (SubmittedItem(pointer='/x', text='127.0.0.1'),);"
        submit += f"submit_scan(ScanRequest(items=items, mode=Mode.STANDARD, ports=({dark.port},)))"
        made = subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", submit],
            cwd=ROOT,
            env=environment(tmp_path / "data"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert made.returncode == 0, made.stderr
        database = tmp_path / "data" / "scans.sqlite"
        assert becomes(lambda: row(database)[0] == "leased"), stack.text()
        stack.stop()
        assert row(database) == ("pending", 0)
    assert stack.descendants() == {}
    assert len(re.findall("killed", stack.text())) == 0


def row(database: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT state, attempts FROM scans_targetresult").fetchone()


# --- Refusals ----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_named_before_anything_is_made(tmp_path):
    with listening() as port:
        ended = run(tmp_path / "data", PORT=str(port), SECRET_KEY="s3cret-" * 10)
    assert ended.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken: stop what listens there, or choose another" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_another_programs_database_is_refused_by_name_and_stays_as_it_was(tmp_path):
    path = tmp_path / "scans.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE scan_jobs (token TEXT)")
    before = path.read_bytes()
    ended = run(tmp_path / "data", SCAN_DB_PATH=str(path))
    assert ended.returncode == 1
    expected = f"{path} holds tables of another program (scan_jobs): choose another SCAN_DB_PATH."
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"HOST": "0.0.0.0"}, "HOST=0.0.0.0 is not a loopback address"),
        ({"HOST": "scanner.invalid"}, "HOST=scanner.invalid is not a loopback address"),
        ({"PORT": "70000"}, "PORT='70000' is not a whole number from 1 to 65535."),
        ({"PORT": "abc"}, "PORT='abc' is not a whole number"),
        ({"Q_WORKERS": "0"}, "Q_WORKERS='0' is not a whole number"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(tmp_path, changes, said):
    ended = run(tmp_path / "data", **changes)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data" / "scans.sqlite").exists()


def test_a_worker_refuses_a_database_without_tables(tmp_path):
    ended = run(tmp_path / "data", "worker")
    assert ended.returncode == 1
    assert "The database lacks migrations: run manage.py migrate" in ended.stderr


# --- Its parts ---------------------------------------------------------------------------------------------------

WAITING = (7, 0, None)
BEATS = frozenset({(uuid4(), datetime(2030, 1, 1, tzinfo=UTC))})


def looks_until_stalled(dog: Watchdog, sight: Sight, *, pid: int = 1) -> int | None:
    return next((n for n in range(1, 100) if dog.is_stalled(pid, sight)), None)


def test_a_cluster_that_has_worked_is_stalled_when_nothing_moves_for_five_more_looks():
    dog = Watchdog()
    assert not dog.is_stalled(1, Sight(waiting=None, beats=BEATS))
    assert looks_until_stalled(dog, Sight(waiting=WAITING, beats=frozenset())) == STALL_LOOKS + 1


def test_a_cluster_that_is_starting_gets_more_time():
    assert looks_until_stalled(Watchdog(), Sight(waiting=WAITING, beats=frozenset())) == START_LOOKS + 1


def test_a_cluster_whose_processes_are_there_is_not_starting_any_more():
    sight = Sight(waiting=WAITING, beats=frozenset(), family=frozenset({10, 11}))
    assert looks_until_stalled(Watchdog(), sight) == STALL_LOOKS + 1


def test_a_cluster_that_lost_a_process_and_then_does_nothing_gets_less_time():
    dog = Watchdog()
    assert not dog.is_stalled(1, Sight(waiting=WAITING, beats=BEATS, family=frozenset({10, 11})))
    sight = Sight(waiting=WAITING, beats=frozenset(), family=frozenset({10, 12}))
    assert looks_until_stalled(dog, sight) == DEATH_LOOKS + 1


def test_a_cluster_that_acknowledges_nothing_any_more_is_replaced_once():
    dog = Watchdog()
    for unacknowledged in (0, MOST_UNACKNOWLEDGED):
        assert not dog.is_stalled(1, Sight(waiting=None, beats=BEATS, unacknowledged=unacknowledged))
    assert dog.is_stalled(1, Sight(waiting=None, beats=BEATS, unacknowledged=MOST_UNACKNOWLEDGED + 1))
    assert not dog.is_stalled(2, Sight(waiting=None, beats=BEATS, unacknowledged=MOST_UNACKNOWLEDGED + 1))


def test_a_cluster_without_work_is_never_stalled():
    assert looks_until_stalled(Watchdog(), Sight(waiting=None, beats=frozenset())) is None


@pytest.mark.parametrize("moving", ["waiting", "beats", "pid"])
def test_whatever_moves_keeps_the_watchdog_quiet(moving):
    dog, key = Watchdog(), uuid4()
    for turn in range(100):
        at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=turn if moving == "beats" else 0)
        waiting = (turn if moving == "waiting" else 7, 0, None)
        sight = Sight(waiting=waiting, beats=frozenset({(key, at)}))
        assert not dog.is_stalled(turn if moving == "pid" else 1, sight)


@pytest.mark.django_db
def test_the_watchdog_sees_waiting_rows_and_the_beats_of_each_clusters_own_group():
    job = make_job("127.0.0.1")
    key = uuid4()
    with heartbeats.beating(key, WorkerHeartbeat.Kind.SLICE):
        sights = watchdog.look({"scan": os.getpgid(0), "ai": None})
    assert sights["scan"].waiting == (job.targets.get().pk, 0, None)
    assert [pk for pk, _ in sights["scan"].beats] == [key]
    assert sights["ai"] == Sight(waiting=None, beats=frozenset())


@pytest.mark.django_db
def test_a_heartbeat_that_others_forgot_is_noticed():
    key = uuid4()
    with heartbeats.beating(key, WorkerHeartbeat.Kind.SUPERVISOR):
        assert heartbeats.beat(key)
        WorkerHeartbeat.objects.all().delete()
        assert not heartbeats.beat(key)


@pytest.mark.django_db(transaction=True)
def test_a_database_that_keeps_it_waiting_delays_the_stop_by_little_and_the_flag_is_written_later():
    key = uuid4()
    housekeeping = Housekeeping(key, [])
    housekeeping.start()
    assert becomes(lambda: WorkerHeartbeat.objects.filter(pk=key).exists())
    with transaction.atomic():
        heartbeats.beat(key)  # holds the row, and on SQLite the whole database
        began = time.monotonic()
        housekeeping.ask_to_stop()  # if it waited for the database it would do so for ever
        assert time.monotonic() - began > 1
    assert becomes(lambda: WorkerHeartbeat.objects.filter(pk=key, is_stopping=True).exists())
    housekeeping.end()
    housekeeping.join(PATIENCE)
    assert not WorkerHeartbeat.objects.filter(pk=key).exists()


@pytest.mark.django_db(transaction=True)
def test_restarts_are_counted_once_also_those_of_a_time_without_database():
    key = uuid4()
    housekeeping = Housekeeping(key, [])
    housekeeping.restarts.put(("scan", RestartReason.DIED))
    housekeeping.start()
    assert becomes(lambda: restarts() == {"scan:died": 1})
    with transaction.atomic():
        heartbeats.beat(key)
        DailyCount.objects.update(n=F("n"))  # on SQLite nobody else may write now
        for _ in range(2):
            housekeeping.restarts.put(("web", RestartReason.KILLED))
        time.sleep(5)
    assert becomes(lambda: restarts() == {"scan:died": 1, "web:killed": 2})
    housekeeping.restarts.put(("ai", RestartReason.STALLED))  # shortly before the end
    housekeeping.ask_to_stop()
    housekeeping.end()
    housekeeping.join(PATIENCE)
    assert restarts() == {"scan:died": 1, "web:killed": 2, "ai:stalled": 1}


def restarts() -> dict[str, int]:
    return count_sums(EVERYBODY, [CountKind.RESTART], since=date(2000, 1, 1)).of(CountKind.RESTART)


@pytest.mark.django_db
def test_a_zombie_holds_no_lease():
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # has ended, is not collected
    with heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SLICE):
        WorkerHeartbeat.objects.update(pid=zombie.pid)
        assert heartbeats.expire_dead() == 1
    zombie.wait()


def test_a_program_that_keeps_dying_is_started_ever_later():
    child = Child("quick", [sys.executable, "-c", ""], dict(os.environ))
    pauses = []
    for _ in range(12):
        child._start_at = 0
        child.start()
        pauses.append(child.pause())
        child.kill()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, LONGEST_PAUSE_SECONDS)
    assert not child.is_due()


def test_a_launched_program_ends_when_its_supervisor_is_killed(tmp_path):
    pids = tmp_path / "pids"
    program = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command = ["sys.executable", repr(str(LAUNCH)), "str(os.getpid())", "'0'", "sys.executable", "'-c'", repr(program)]
    script = f"import os, subprocess, sys, time; subprocess.Popen([{', '.join(command)}]); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    assert becomes(lambda: pids.exists() and pids.read_text())
    parent.kill()
    parent.wait()
    assert becomes(lambda: not is_running(int(pids.read_text())))


def test_workers_let_the_web_server_go_first():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    child = Child("nicer", [sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), nicer=3)
    child.start()
    try:
        assert becomes(lambda: os.getpriority(os.PRIO_PROCESS, child.pid) == min(19, own + 3))
        if os.access("/proc/self/autogroup", os.W_OK):  # then the kernel may share the processors among sessions first
            assert becomes(lambda: Path(f"/proc/{child.pid}/autogroup").read_text().endswith(" nice 3\n"))
    finally:
        child.kill()
    assert web(uuid4())._nicer == 0 < min(cluster._nicer for cluster in clusters(uuid4()))


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
