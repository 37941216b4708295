"""One probe rate for all workers: ten processes keep to it together, and none of them starves."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from django.db import connection, transaction
from django.db.models import FloatField, Value
from django.utils import timezone

from scans.core.budgets import BURST
from scans.core.options import ProbeOptions
from scans.core.probe import ProbeEngine
from scans.core.probe.grants import Grant, GrantedRate
from scans.models import RateBucket
from scans.services import lines
from scans.services.budgets import ProbeGrants
from scans.services.lines import BURST_SECONDS, draw, hand_back
from scans.services.slices import run_slice
from tests.cluster import ROOT, child_environment
from tests.core.probe.driving import plan, states
from tests.drawing import PROCESSES
from tests.factories import make_job
from tests.fakes import wait_until
from tests.patience import AGES, PATIENCE
from tests.servers import refusing


def together(*arguments: object, count: int = PROCESSES) -> list[list[tuple[float, int]]]:
    """What each of some processes printed that began at the same moment."""
    command = [sys.executable, "-m", "tests.drawing", *map(str, arguments)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, env=child_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(count)
        ]
        try:
            assert all(process.stdout.readline().startswith("ready") for process in running)
            for process in running:
                process.stdin.write("go\n")
                process.stdin.flush()
            outputs = [process.communicate(timeout=2 * PATIENCE)[0] for process in running]
        finally:
            for process in running:
                process.kill()
    assert {process.returncode for process in running} == {0}
    return [[(float(at), int(n)) for at, n in map(str.split, output.splitlines())] for output in outputs]


# --- Many processes ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_ten_processes_together_keep_to_the_rate_and_none_of_them_starves(tmp_path):
    rate, seconds, least = 800, 8, 200  # a third of what would be each one's share
    with refusing("127.66.21.1") as port:
        samples = together("probe", rate, "127.66.21.1", port - 4, seconds, least, tmp_path)
    sent, lasted = sent_in_all(samples)
    assert sum(sent) <= rate * (lasted + 2 * BURST_SECONDS)
    assert min(sent) >= least


def sent_in_all(samples: list[list[tuple[float, int]]]) -> tuple[list[int], float]:
    """How many each process made, and how long they took together. How fast they come is the machine's affair."""
    sent, lasted = [s[-1][1] for s in samples], max(s[-1][0] for s in samples) - min(s[0][0] for s in samples)
    print(f"{PROCESSES} processes made {sum(sent) / lasted:.0f} connects/s for {lasted:.1f} s; of these each {sorted(sent)}")
    return sent, lasted


@pytest.mark.django_db(transaction=True)
def test_ten_processes_together_keep_to_the_quota_of_a_source():
    samples = together("source", "ip-api", 60, 4)
    granted = sum(count for sample in samples for _, count in sample)
    elapsed = max(s[-1][0] for s in samples) - min(s[0][0] for s in samples)
    assert BURST <= granted <= BURST + elapsed + 1  # one a second, after the first three


@pytest.mark.django_db(transaction=True)
def test_threads_that_draw_at_once_get_stretches_that_do_not_overlap():
    stretches, problems = [], []

    def work() -> None:
        try:
            for _ in range(10):
                if (wait := draw(10, per_second=1000)) is not None:
                    stretches.append(time.monotonic() + wait)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AGES)
    assert problems == []
    granted = len(stretches) / 100  # seconds of the line
    assert granted <= BURST_SECONDS + (time.monotonic() - began) + lines.HORIZON_SECONDS + 0.01
    assert max(stretches) - began >= granted - BURST_SECONDS - 0.02  # the line is as long as what was granted


# --- Drawing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def still(monkeypatch) -> None:
    """The database's clock stands."""
    moment = timezone.now()
    monkeypatch.setattr(lines, "_Now", lambda: Value(moment.timestamp(), output_field=FloatField()))
    monkeypatch.setattr(lines.clock, "now", lambda: moment)


@pytest.mark.django_db
def test_a_draw_asks_the_clock_anew():
    began, wait, ended = time.monotonic(), draw(50, per_second=100), time.monotonic()
    assert -BURST_SECONDS - (ended - began) - 0.01 <= wait <= -BURST_SECONDS + 0.01


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_a_grant_after_a_pause_may_begin_at_once_and_the_next_begins_where_it_ends():
    first, second = draw(50, per_second=100), draw(20, per_second=100)
    assert first == pytest.approx(-BURST_SECONDS, abs=1e-5)
    assert second == pytest.approx(first + 0.5, abs=1e-5)


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_a_line_that_is_long_enough_takes_no_more_until_it_is_shorter():
    assert draw(150, per_second=100) is not None
    assert draw(1, per_second=100) is None
    hand_back(100, per_second=100)
    assert draw(1, per_second=100) == pytest.approx(0.4, abs=1e-5)


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_a_rate_below_one_a_second_is_kept_too():
    assert draw(1, per_second=0.5) is not None
    assert draw(1, per_second=0.5) is None


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_a_clock_that_was_ahead_stops_nobody():
    draw(1, per_second=100)
    RateBucket.objects.filter(name=lines.NAME).update(tokens=time.time() + 3600)
    assert draw(1, per_second=100) == pytest.approx(0, abs=1e-5)


@pytest.mark.django_db
def test_a_draw_is_one_update_and_one_read(django_assert_num_queries):
    draw(1, per_second=100)
    with django_assert_num_queries(4):  # with the savepoint of this test around them
        draw(1, per_second=100)


@pytest.mark.django_db(transaction=True)
def test_what_a_slice_does_not_spend_is_handed_back():
    make_job("127.66.21.2", ports="1-4")
    run_slice()
    left = RateBucket.objects.get(name=lines.NAME).tokens - time.time()
    assert left <= 4 / 2000 + 0.01
    assert draw(1, per_second=2000) <= 0


@pytest.mark.django_db(transaction=True)
def test_hosts_that_are_not_paced_draw_nothing():
    make_job("127.0.0.1", ports="1-4")
    run_slice()
    assert not RateBucket.objects.filter(name=lines.NAME).exists()


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_probes_wait_while_the_database_is_slow_and_none_is_sent_without_a_grant():
    draw(1, per_second=500)
    grants, ended = ProbeGrants(per_second=500, network_per_second=0), threading.Event()
    with refusing("127.66.21.3") as port:
        engine = ProbeEngine(ProbeOptions(rate_per_second=500), may_connect=lambda _: True, pace=grants.pace)
        engine.submit(plan([port], address="127.66.21.3", is_paced=True))
        engine.finish()
        found = []
        prober = threading.Thread(target=lambda: found.extend(r for batch in engine.run() for r in batch))
        drawer = threading.Thread(target=lambda: (grants.serve(ended, AGES), connection.close()))
        with transaction.atomic():  # on SQLite nobody else writes now
            for thread in (prober, drawer):
                thread.start()
            turns = engine.stats.turns
            assert wait_until(lambda: engine.stats.turns > turns + 20)  # it waits without blocking
            assert engine.stats.sent == 0
        prober.join(PATIENCE)
    ended.set()
    grants.wake()
    drawer.join(PATIENCE)
    assert states(found[0]) == {port: "closed"}


# --- Spending ----------------------------------------------------------------------------------------------------


def granted(count: int, *, at: float = 100.0, per_second: float = 10) -> GrantedRate:
    pace = GrantedRate(threading.Event())
    pace.put(Grant(count=count, starts_at=at, per_second=per_second), enough=count // 2)
    return pace


def test_a_grant_is_spent_at_its_rate_and_no_further():
    pace = granted(5)
    assert pace.take(9, now=99.9) == 0
    assert pace.wait_seconds(now=99.9) == pytest.approx(0.1)
    assert [pace.take(9, now=now) for now in (100.0, 100.05, 100.15, 100.35, 109.0)] == [1, 0, 1, 2, 1]
    assert pace.take(9, now=109.0) == 0


def test_more_is_wanted_only_by_those_who_ask_and_before_the_last_is_spent():
    pace = granted(4, per_second=1000)
    assert not pace.is_wanted
    assert pace.take(1, now=100.9) == 1
    assert not pace.is_wanted
    assert pace.take(1, now=100.9) == 1
    assert pace.is_wanted


def test_who_has_asked_for_nothing_does_not_wait():
    pace = GrantedRate(bell := threading.Event())
    assert pace.wait_seconds(now=1.0) == 0
    assert not pace.is_wanted
    assert pace.take(3, now=1.0) == 0
    assert pace.wait_seconds(now=1.0) > 0
    assert pace.is_wanted
    assert bell.is_set()


def test_what_nobody_came_for_lapses_and_what_was_never_begun_is_not_lost():
    pace = granted(5)
    assert pace.take(2, now=100.2) == 2
    pace.put_back(1)
    assert pace.take(1, now=100.2) == 1
    assert pace.withdraw(now=101.4) == 0
    assert pace.withdraw(now=101.6) == 3
    assert pace.take(1, now=101.6) == 0
    assert pace.withdraw() == 0
