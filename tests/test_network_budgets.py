"""One rate a network for all workers: ten processes keep to it together, and many networks cost few statements."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scans.core.options import ProbeOptions
from scans.core.probe import ProbeEngine
from scans.models import RateBucket, TargetState
from scans.services import lines
from scans.services.budgets import TOGETHER_SECONDS, ProbeGrants
from scans.services.lines import BURST_SECONDS, draw_networks, forget_networks, hand_back_networks
from scans.services.slices import run_slice
from tests.core.probe.driving import plan
from tests.factories import make_job
from tests.patience import AGES, PATIENCE
from tests.test_budgets import sent_in_all, still, together  # noqa: F401 - a fixture

HERE, THERE = "192.0.2.0/24", "2001:db8:1::/48"


def network_rows():
    return RateBucket.objects.filter(name__startswith=lines.NETWORK_PREFIX)


@pytest.mark.django_db(transaction=True)
def test_ten_processes_together_keep_to_the_rate_of_each_network_and_none_of_them_starves(tmp_path):
    rate, seconds, least = 400, 8, 200  # a third of what would be each one's share
    sent, lasted = sent_in_all(together("network", rate, "127.66.21.1,127.66.22.1", 1, seconds, least, tmp_path))
    assert sum(sent) <= 2 * rate * (lasted + BURST_SECONDS + lines.HORIZON_SECONDS)
    assert min(sent) >= least


@pytest.mark.django_db(transaction=True)
def test_threads_that_draw_for_many_networks_at_once_get_stretches_that_do_not_overlap():
    networks = [f"10.1.{n}.0/24" for n in range(40)]
    granted, problems, began = [], [], time.monotonic()

    def work(mine: list[str]) -> None:
        try:
            for _ in range(5):
                waits = draw_networks(dict.fromkeys(mine, 0.05))
                now = time.monotonic()
                granted.extend((network, now + wait) for network, wait in waits.items() if wait is not None)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(order,)) for order in (networks, networks[::-1], networks[20:], networks[:20])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AGES)
    assert problems == []
    for network in networks:
        starts = sorted(at for of, at in granted if of == network)
        assert len(starts) == 15
        assert starts[-1] - began >= 14 * 0.05 - BURST_SECONDS - 0.02  # the line is as long as what was granted


# --- Drawing -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_each_network_has_a_line_of_its_own():
    assert draw_networks({HERE: 0.5, THERE: 0.2}) == pytest.approx({HERE: -BURST_SECONDS, THERE: -BURST_SECONDS}, abs=1e-5)
    assert draw_networks({HERE: 0.7}) == pytest.approx({HERE: 0.4}, abs=1e-5)
    assert draw_networks({HERE: 0.1, THERE: 0.1}) == {HERE: None, THERE: pytest.approx(0.1, abs=1e-5)}
    hand_back_networks({HERE: 0.7, "198.51.100.0/24": 1.0})
    assert draw_networks({HERE: 0.1}) == pytest.approx({HERE: 0.4}, abs=1e-5)


@pytest.mark.django_db
@pytest.mark.usefixtures("still")
def test_a_clock_that_was_ahead_stops_no_network():
    draw_networks({HERE: 0.1})
    network_rows().update(tokens=time.time() + 3600)
    assert draw_networks({HERE: 0.1}) == pytest.approx({HERE: 0.0}, abs=1e-5)


@pytest.mark.django_db
def test_networks_are_forgotten_once_nothing_is_owed_any_more_and_the_probe_rate_never():
    lines.draw(1, per_second=1)
    draw_networks({HERE: 0.1, THERE: 0.1})
    RateBucket.objects.exclude(name=lines.NETWORK_PREFIX + THERE).update(tokens=time.time() - lines.KEPT_SECONDS - 1)
    assert (forget_networks(), forget_networks()) == (1, 0)
    assert set(RateBucket.objects.values_list("name", flat=True)) == {lines.NAME, lines.NETWORK_PREFIX + THERE}


@pytest.mark.django_db
def test_to_draw_for_two_hundred_networks_takes_as_many_statements_as_for_one():
    counts = []
    for networks in ([HERE], [f"10.1.{n}.0/24" for n in range(200)]):
        wanted = dict.fromkeys(networks, 0.01)
        draw_networks(wanted)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            draw_networks(wanted)
        counts.append(len(queries))
    assert counts[0] <= 5  # with the savepoint of this test around them
    assert counts[1] <= counts[0] + 1  # SQLite takes only so many parameters


# --- Slices ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_hosts_that_are_alone_in_their_networks_draw_on_none():
    make_job(*(f"127.66.{n}.1" for n in range(40)), ports="1-24")
    run_slice()
    assert not network_rows().exists()


@pytest.mark.django_db(transaction=True)
def test_a_slice_keeps_to_the_rate_of_a_network_and_hands_back_what_it_did_not_spend(settings):
    settings.SCANNER = replace(settings.SCANNER, probe=ProbeOptions(network_per_second=200))
    job = make_job(*(f"127.66.23.{n}" for n in range(1, 31)), "127.66.24.1", ports="1-20")
    began = time.monotonic()
    run_slice()
    lasted = time.monotonic() - began
    assert job.targets.filter(state=TargetState.DONE).count() == 31
    assert lasted > 600 / 200 - 2 * BURST_SECONDS
    assert RateBucket.objects.get(name="network:127.66.23.0/24").tokens - time.time() <= 0.05


@pytest.mark.django_db(transaction=True)
def test_hosts_that_are_not_paced_have_no_line():
    make_job("127.0.0.1", ports="1-300")
    run_slice()
    assert not RateBucket.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_networks_that_want_grants_share_their_draws():
    grants, ended = ProbeGrants(per_second=0, network_per_second=100), threading.Event()
    engine = ProbeEngine(ProbeOptions(), may_connect=lambda _: True, pace=grants.pace)
    for n in range(150):
        engine.submit(plan(range(1, 31), key=n, address=f"127.66.{n}.1", is_paced=True))
    engine.finish()
    found = []
    prober = threading.Thread(target=lambda: found.extend(result for batch in engine.run() for result in batch))
    began = time.monotonic()
    prober.start()
    with CaptureQueriesContext(connection) as queries:
        while prober.is_alive() and time.monotonic() - began < PATIENCE:
            grants.serve(ended, 0.05)
    lasted = time.monotonic() - began
    prober.join(PATIENCE)
    assert len(found) == 150
    updates = [query for query in queries if query["sql"].startswith("UPDATE")]
    print(f"150 networks had {engine.stats.sent} connections in {lasted:.1f} s with {len(updates)} updates")
    assert network_rows().count() == 150
    assert len(updates) <= 2 * (lasted / TOGETHER_SECONDS + 1)
    grants.end()
