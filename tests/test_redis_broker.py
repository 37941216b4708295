"""Wake-ups through Redis: sent on commit, lost without loss. A real redis-server is flushed, killed and missing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from django.conf import settings as our_settings
from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone

from scans.checks import limit_problems, wakeup_problems
from scans.models import ScanJob, TargetResult
from scans.services.broker import RedisBroker
from scans.services.jobs import submit_scan
from scans.services.wakeups import wake_if_idle
from tests.chaos.figures import record
from tests.cluster import child_environment, workers
from tests.factories import make_job
from tests.patience import PATIENCE
from tests.servers import refusing, silent
from tests.services.test_jobs import request
from tests.stack import ROOT, becomes, environment, free_port

SERVER = shutil.which("redis-server") or "/usr/bin/redis-server"
needs_redis = pytest.mark.skipif(not Path(SERVER).exists(), reason="no redis-server (on Debian: apt install redis-server)")


class Redis:
    """A server of our own, without persistence: what it holds is gone with it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([SERVER, *options, "--dir", str(self._directory)], stdout=subprocess.DEVNULL)
        assert becomes(self._answers)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None

    def ask(self, command: str, *arguments: str) -> object:
        import redis

        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(command, *arguments)

    def _answers(self) -> bool:
        import redis

        with suppress(redis.RedisError):
            return bool(self.ask("PING"))
        return False


@pytest.fixture
def server(tmp_path) -> Iterator[Redis]:
    """A running server."""
    redis = Redis(tmp_path)
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()


@contextmanager
def broker(settings, url: str) -> Iterator[None]:
    """This process sends its wake-ups to that address, as it would with BROKER_URL set from the start."""
    from django_q.conf import Conf

    before, Conf.BROKER_CLASS = Conf.BROKER_CLASS, "scans.services.broker.RedisBroker"
    settings.BROKER_URL = url
    try:
        yield
    finally:
        Conf.BROKER_CLASS = before
        settings.BROKER_URL = ""


def length(server: Redis, queue: str = "scan") -> int:
    return int(server.ask("LLEN", f"django_q:{queue}:q"))


# --- Sending -----------------------------------------------------------------------------------------------------


@needs_redis
@pytest.mark.django_db(transaction=True)
def test_a_wakeup_is_sent_when_the_job_is_committed_and_not_before(server, settings):
    with broker(settings, server.url):
        with transaction.atomic():
            submit_scan(request("127.0.0.1"))
            assert length(server) == 0
        assert length(server) == 1
        with transaction.atomic():
            submit_scan(request("127.0.0.1"))
            transaction.set_rollback(True)
        assert length(server) == ScanJob.objects.count() == 1


@needs_redis
@pytest.mark.django_db(transaction=True)
def test_no_more_wait_than_can_be_taken(server, settings):
    with broker(settings, server.url):
        assert [wake_if_idle("ai") for _ in range(settings.Q_WORKERS + 2)].count(True) == settings.Q_WORKERS
    assert length(server, "ai") == settings.Q_WORKERS


@pytest.mark.django_db(transaction=True)
def test_a_job_is_taken_in_while_redis_is_away(client, settings, caplog):
    with broker(settings, f"redis://127.0.0.1:{free_port()}/0"):
        reply = client.post("/scan", {"ip_addresses": ["127.0.0.1"]}, content_type="application/json")
        assert not wake_if_idle("scan")
    assert reply.status_code == 202
    assert ScanJob.objects.get().targets.filter(state="pending").count() == 1
    assert "no wake-up sent to the queue scan, the reaper will" in caplog.text


@needs_redis
@pytest.mark.parametrize("message", [b"\xff\xfe", b"", b"\0" * 1000, "\u2713:a:b".encode()])
def test_what_others_put_into_redis_is_refused_like_any_unsigned_message(server, settings, message):
    from django_q.signing import BadSignature, SignedPackage

    settings.BROKER_URL = server.url
    server.ask("RPUSH", "django_q:scan:q", message)
    ((_, taken),) = RedisBroker("scan").dequeue()
    with pytest.raises(BadSignature):
        SignedPackage.loads(taken)
    assert length(server) == 0


# --- Losing ------------------------------------------------------------------------------------------------------


def complete(token: str) -> bool:
    return becomes(lambda: ScanJob.objects.filter(token=token, state="complete").exists())


def results(token: str) -> list[tuple[str, str]]:
    return list(TargetResult.objects.filter(job__token=token).order_by("ordinal").values_list("target", "state"))


@needs_redis
@pytest.mark.django_db(transaction=True)
def test_flushed_and_killed_in_mid_job_it_costs_no_target_and_is_in_the_log(server, settings, capfd):
    with ExitStack() as stack:
        dark = stack.enter_context(silent()).port
        port = stack.enter_context(refusing())
        stack.enter_context(broker(settings, server.url))
        stack.enter_context(workers(BROKER_URL=server.url, PROBE_ATTEMPTS="5"))
        job = submit_scan(request("127.0.0.0/28", ports=(dark,)))
        assert becomes(lambda: TargetResult.objects.filter(state="leased").exists())
        server.ask("FLUSHALL")
        later = make_job("127.0.0.1", "127.0.0.2", ports=str(port))  # no wake-up was ever sent for this one
        server.kill()
        time.sleep(1)
        blind = submit_scan(request("127.0.0.3", ports=(port,)))
        assert not blind.is_finished
        server.start()
        back = timezone.now()
        for one in (job, later, blind):
            assert complete(one.token)
    assert results(job.token) == [(f"127.0.0.{n}", "done") for n in range(16)]
    assert results(later.token) == [("127.0.0.1", "done"), ("127.0.0.2", "done")]
    assert results(blind.token) == [("127.0.0.3", "done")]
    after = TargetResult.objects.filter(finished_at__gt=back).aggregate(first=Min("finished_at"), last=Max("finished_at"))
    resume, end = ((after[name] - back).total_seconds() for name in ("first", "last"))
    database = {"sqlite": "SQLite", "postgresql": "Postgres"}[connection.vendor]
    record("Redis flushed and killed", database, targets=19, lost=0, resume_s=resume, all_done_after_s=end)


@needs_redis
@pytest.mark.django_db(transaction=True)
def test_workers_that_start_without_redis_begin_when_it_comes(tmp_path):
    redis = Redis(tmp_path)
    with refusing() as port, workers(BROKER_URL=redis.url):
        job = make_job("127.0.0.1", ports=str(port))
        time.sleep(4)
        assert not ScanJob.objects.get(pk=job.pk).is_finished
        redis.start()
        try:
            assert complete(job.token)
        finally:
            redis.kill()


# --- Settings ----------------------------------------------------------------------------------------------------

GOOD = dict(our_settings.Q_CLUSTER)
REDIS = {"broker_class": "scans.services.broker.RedisBroker", "redis": "redis://127.0.0.1/0"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (REDIS, []),
        ({**REDIS, "redis": ""}, ["scans.E009"]),
        ({"orm": None}, ["scans.E009"]),
        ({"orm": "another"}, ["scans.E009"]),
        ({"broker_class": "elsewhere.Broker"}, ["scans.E009"]),
        ({"sync": True}, ["scans.E010"]),
        ({"name": "default"}, ["scans.E011"]),
        ({"ALT_CLUSTERS": {}}, ["scans.E011"]),
        ({"ack_failures": False}, ["scans.E012", "scans.E012"]),
        ({"max_attempts": 3}, ["scans.E012", "scans.E012"]),
        ({"timeout": 15}, ["scans.E013"]),
        ({"bulk": 5}, ["scans.E013", "scans.E013"]),
        ({"queue_limit": 0}, ["scans.E013"]),
        ({"queue_limit": 1, "workers": 2}, ["scans.E013"]),
    ],
)
def test_a_queue_whose_wakeups_would_go_astray_is_refused_with_a_hint(changes, expected):
    problems = wakeup_problems({**GOOD, **changes})
    assert [problem.id for problem in problems] == expected
    assert all(problem.hint for problem in problems)


def test_a_job_that_is_allowed_but_never_taken_in_is_warned_of():
    assert limit_problems(largest_job=1024, open_targets={"A": 1024, "B": 0}) == []
    (problem,) = limit_problems(largest_job=1024, open_targets={"A": 1000, "B": 0})
    assert problem.id == "scans.W001"
    assert "A=1000 is less than SCAN_MAX_TARGETS=1024" in problem.msg


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "127.0.0.1:6379", "redis://", "redis://:s3cret-password@h:port/0"])
def test_an_address_that_is_not_one_of_redis_stops_the_start_and_is_not_repeated(tmp_path, url):
    env = environment(tmp_path, BROKER_URL=url)
    argv = [sys.executable, "-c", "import ipscanner.settings"]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("BROKER_URL is not an address like redis://127.0.0.1:6379/0.")
    assert "s3cret" not in ended.stderr


@pytest.mark.django_db
def test_the_system_checks_pass_with_redis(tmp_path):
    env = child_environment(BROKER_URL=f"redis://127.0.0.1:{free_port()}/0")
    argv = [sys.executable, "manage.py", "check"]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
