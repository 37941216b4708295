"""The real supervisor as a program: it starts everything, keeps it alive, and leaves nothing behind.

One stack at a time, on a port and in a data directory of its own; processes are found by that directory in their
environment. The waits are bounds on a busy machine, not what is usual.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from tests.factories import make_job
from tests.servers import listening, silent
from tests.settings import NOWHERE

from scans.models import WorkerHeartbeat
from scans.services import heartbeats
from scans.supervisor import watchdog
from scans.supervisor.child import LONGEST_PAUSE_SECONDS, Child
from scans.supervisor.watchdog import STALL_LOOKS, START_LOOKS, Sight, Watchdog

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 15


# --- The program -------------------------------------------------------------------------------------------------


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """Of a program that has its own database and stays on the loopback."""
    return {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "Q_CLUSTER_NAME")},
        "DJANGO_SETTINGS_MODULE": "ipscanner.settings",
        "PROFILE": "local",
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "DATA_DIR": str(data_dir),
        "SCAN_DB_PATH": "",
        "SECRET_KEY": "",
        "OFFLINE": "1",
        "IP_API_BASE_URL": NOWHERE,
        "GEMINI_BASE_URL": NOWHERE,
        "GEMINI_API_KEY": "",
        "LOG_LEVEL": "INFO",
        **changes,
    }


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(data_dir: Path, command: str = "up", **changes: str) -> subprocess.CompletedProcess[str]:
    """A program that is expected to end by itself."""
    env = environment(data_dir, **changes)
    return subprocess.run(
        [sys.executable, "manage.py", command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )


class Stack:
    """A running supervisor and what it has started."""

    def __init__(self, data_dir: Path, command: str = "up", **changes: str) -> None:
        self._data_dir = data_dir
        env = environment(data_dir, **changes)
        self.port = int(env["PORT"])
        self.output = data_dir.with_name(f"{data_dir.name}.{time.monotonic_ns()}.log")
        with self.output.open("wb") as file:
            argv = [sys.executable, "manage.py", command]
            self.process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text()

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """One request on a connection of its own; the body of the reply stays readable."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            reply = connection.getresponse()
            reply.text = reply.read().decode()
            return reply

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.text()
        with suppress(OSError):
            return self.request("GET", "/readyz").status == 200
        return False

    def scan(self, **body: object) -> str:
        reply = self.request("POST", "/scan", json.dumps(body), Content_Type="application/json")
        assert reply.status == 202, reply.text
        return json.loads(reply.text)["token"]

    def is_complete(self, token: str) -> bool:
        return json.loads(self.request("GET", f"/scan/{token}").text)["status"] == "complete"

    def descendants(self) -> dict[int, dict[str, str]]:
        """Every living process that the supervisor brought about, by whatever way, with its environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and b"SCANNER_SUPERVISOR=" in (raw := (entry / "environ").read_bytes()):
                    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
                    found[int(entry.name)] = {name: value for name, _, value in pairs}
        return {pid: env for pid, env in found.items() if env.get("DATA_DIR") == str(self._data_dir)}

    def cluster(self, queue: str = "scan") -> int:
        """The main process of a cluster: the one that leads its group."""
        found = self.descendants()
        (pid,) = [pid for pid, env in found.items() if env.get("Q_CLUSTER_NAME") == queue and os.getpgid(pid) == pid]
        return pid

    def stop(self) -> float:
        """SIGTERM; how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_SECONDS + 5) == 0, self.text()
        return time.monotonic() - began

    def kill(self) -> None:
        """Whatever a failed test has left."""
        for pid in (self.process.pid, *self.descendants()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def becomes(condition, *, seconds: float = 30) -> bool:
    """Whether the condition comes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def start(tmp_path):
    """Starts the one stack of a test and waits until it is ready; other processes of this run wait their turn."""
    stacks: list[Stack] = []

    def start_one(command: str = "up", **changes: str) -> Stack:
        stacks.append(Stack(tmp_path / "data", command, **changes))
        return stacks[-1]

    with (Path(tempfile.gettempdir()) / "ipscanner-stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield start_one
        for stack in stacks:
            stack.kill()


# --- A whole life ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_up_serves_scans_and_leaves_nothing_behind_and_the_second_start_says_no_password(start):
    stack = start(SCAN_DB_PATH="", GEMINI_MODEL="gemini-of-this-test")
    assert becomes(stack.is_ready), stack.text()
    with listening() as port:
        token = stack.scan(ip_addresses=["127.0.0.1"], ports=[port])
        assert becomes(lambda: stack.is_complete(token))
    assert (found := re.search(r"admin, password (\S+)", stack.text()))
    assert can_log_in(stack, "admin", found[1])
    assert not can_log_in(stack, "admin", "another-password")
    assert len(stack.descendants()) == 2 + 6 + 5  # gunicorn and a worker; per cluster main, guard, pusher, monitor, workers
    assert stack.stop() < STOP_SECONDS
    assert stack.descendants() == {}

    first = stack.text()
    assert f"http://127.0.0.1:{stack.port}/\n" in first
    assert "Scan only what you may scan." in first
    assert "ip-api.com" not in first  # offline
    assert "GEMINI_API_KEY is not set, GEMINI_MODEL is set, SCAN_DB_PATH is not set" in first
    assert "gemini-of-this-test" not in first

    stack = start()
    began = time.monotonic()
    assert becomes(stack.is_ready), stack.text()
    assert time.monotonic() - began < 15
    assert stack.is_complete(token)
    assert "password" in stack.text()
    assert found[1] not in stack.text()
    assert "shown only this once" not in stack.text()
    assert "changepassword admin" in stack.text()
    stack.process.send_signal(signal.SIGINT)  # Ctrl-C is the other way to stop
    assert stack.process.wait(STOP_SECONDS) == 0
    assert stack.descendants() == {}


def can_log_in(stack: Stack, name: str, password: str) -> bool:
    form = stack.request("GET", "/admin/login/")
    cookie = SimpleCookie(form.headers["Set-Cookie"])["csrftoken"].value
    field = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)[1]
    body = urlencode({"username": name, "password": password, "csrfmiddlewaretoken": field, "next": "/admin/"})
    headers = {"Cookie": f"csrftoken={cookie}", "Content_Type": "application/x-www-form-urlencoded"}
    return stack.request("POST", "/admin/login/", body, **headers).status == 302


def test_the_curl_lines_and_the_data_directory_are_private_and_work_as_printed(start, tmp_path):
    stack = start()
    assert becomes(stack.is_ready), stack.text()
    submit = re.search(r"Submit +curl (.*)", stack.text())[1]
    body, path = re.search(r"-d '(.*)'", submit)[1], re.search(r"http://127\.0\.0\.1:\d+(\S+)", submit)[1]
    assert stack.request("POST", path, body, Content_Type="application/json").status == 202
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "data", *(tmp_path / "data").iterdir()]}
    assert {mode & 0o077 for mode in modes.values()} == {0}, modes
    assert stack.stop() < STOP_SECONDS


# --- Things that die ---------------------------------------------------------------------------------------------


def test_a_killed_supervisor_leaves_no_process_behind(start):
    stack = start()
    assert becomes(stack.is_ready), stack.text()
    assert becomes(lambda: len(stack.descendants()) == 13)
    os.kill(stack.process.pid, signal.SIGKILL)
    stack.process.wait(5)
    assert becomes(lambda: not stack.descendants(), seconds=5), stack.descendants()


def test_a_killed_cluster_and_a_stopped_one_are_replaced_and_their_work_goes_on(start):
    stack = start(PROBE_ATTEMPTS="10")
    assert becomes(stack.is_ready), stack.text()
    with silent() as dark:
        token = stack.scan(ip_addresses=["127.0.0.1"], ports=[dark.port])  # is at work for some seconds
        killed = stack.cluster()
        os.kill(killed, signal.SIGKILL)
        assert becomes(lambda: "scan ended with code -9" in stack.text())
        assert becomes(lambda: has_other_cluster(stack, killed), seconds=10)
        assert becomes(lambda: is_leased(stack, token), seconds=20)
        time.sleep(4)  # two looks of the watchdog at a cluster at work

        stopped = stack.cluster()
        os.killpg(stopped, signal.SIGSTOP)  # lives, and does nothing: as a cluster whose queue is locked for ever
        assert becomes(lambda: has_other_cluster(stack, stopped), seconds=40), stack.text()
        assert "the cluster scan does none of the work that waits" in stack.text()
        dark.release()
        assert becomes(lambda: stack.is_complete(token)), stack.text()
    assert stack.stop() < STOP_SECONDS
    assert stack.descendants() == {}


def has_other_cluster(stack: Stack, former: int) -> bool:
    with suppress(ValueError):  # between the two there is none
        return stack.cluster() != former
    return False


def is_leased(stack: Stack, token: str) -> bool:
    with closing(sqlite3.connect(f"file:{stack._data_dir}/scans.sqlite?mode=ro", uri=True)) as database:
        query = "SELECT 1 FROM scans_workerheartbeat WHERE kind = 'slice'"
        return database.execute(query).fetchone() is not None and not stack.is_complete(token)


def test_a_web_server_that_never_comes_up_ends_it_all_with_the_reason(start):
    stack = start(WEB_CONCURRENCY="many")
    assert stack.process.wait(40) == 1
    assert "The web server ended 4 times in a row" in stack.text()
    assert stack.descendants() == {}


def test_workers_alone_stop_in_time_with_a_scan_under_way_and_give_it_back(start, tmp_path):
    assert run(tmp_path / "data", "migrate").returncode == 0
    stack = start("worker", PROBE_ATTEMPTS="10")
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
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        database = tmp_path / "data" / "scans.sqlite"
        assert becomes(lambda: row(database)[0] == "leased"), stack.text()
        assert stack.stop() < STOP_SECONDS
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
        ({"PORT": "70000"}, "PORT=70000 is not a port"),
        ({"PORT": "0"}, "PORT=0 is not a port"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_with_the_remedy(tmp_path, changes, said):
    ended = run(tmp_path / "data", **changes)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "HINT: U" in ended.stderr
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


def test_a_program_and_what_it_started_end_when_its_supervisor_is_killed(tmp_path):
    pids = tmp_path / "pids"
    program = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import os, sys, time; from scans.supervisor.child import Child;"
        f"Child('x', [sys.executable, '-c', {program!r}], dict(os.environ)).start(); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    assert becomes(lambda: pids.exists() and pids.read_text())
    parent.kill()
    parent.wait()
    assert becomes(lambda: not is_running(int(pids.read_text())), seconds=5)


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
