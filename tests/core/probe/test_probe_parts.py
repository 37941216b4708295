"""The parts that need no socket: timers, rate, windows, turns, patience, and the kernel's error queue."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.probe import HostPlan
from scans.core.probe.host import Host
from scans.core.probe.pacing import TokenBucket
from scans.core.probe.patience import (
    ACCEPTED_MISS,
    ENOUGH_ANSWERS,
    MOST_ATTEMPTS,
    MOST_SECONDS,
    PathEstimate,
    attempts_needed,
    wait_seconds,
)
from scans.core.probe.rotation import Rotation
from scans.core.probe.sockets import icmp_reason
from scans.core.probe.wheel import TICKS_PER_SECOND, TimerWheel
from scans.core.probe.window import Window

seconds = st.floats(0, 100, allow_nan=False)


def path(*latencies: float, lost: int = 0) -> PathEstimate:
    """An estimate after these answers, of which the first `lost` needed a second attempt."""
    estimate = PathEstimate()
    for n, latency in enumerate(latencies):
        estimate.heard(attempt=2 if n < lost else 1, latency_seconds=latency)
    return estimate


def host(key: object, *, is_paced: bool = False, has_begun: bool = False) -> Host:
    plan = HostPlan(key=key, address=ip_address("127.0.0.1"), ports=(1,), is_paced=is_paced)
    made = Host(plan, ports=(1,), window=Window(first=1, most=1))
    made.has_begun = has_begun
    return made


@given(st.lists(seconds), st.lists(seconds))
def test_a_timer_is_never_early_and_never_lost_and_at_most_a_tick_late(times, looks):
    wheel: TimerWheel[float] = TimerWheel(now=0)
    for at in times:
        wheel.add(at, at=at)
    out = []
    for now in [*sorted(looks), 101.0]:
        due = wheel.due(now=now)
        assert all(at <= now for at in due)
        out += due
        assert all(at > now - 1.1 / TICKS_PER_SECOND for at in set(times) - set(out))
    assert sorted(out) == sorted(times)
    assert wheel.next_at() is None


def test_a_timer_set_for_the_past_is_due_at_the_next_tick():
    wheel: TimerWheel[str] = TimerWheel(now=50)
    wheel.add("late", at=10)
    assert wheel.next_at() <= 50 + 1 / TICKS_PER_SECOND
    assert wheel.due(now=50.01) == ["late"]


@given(st.floats(1, 1e4), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 100)), max_size=50))
def test_a_bucket_never_grants_more_than_the_burst_and_the_rate(rate, asks):
    bucket, now, granted = TokenBucket(per_second=rate), 1000.0, 0
    for pause, wanted in asks:
        now += pause
        got = bucket.take(wanted, now=now)
        assert 0 <= got <= wanted
        granted += got
    assert granted <= max(1, rate * 0.1) + rate * (now - 1000.0) + 1e-6


def test_a_bucket_says_how_long_to_wait_and_then_grants():
    bucket = TokenBucket(per_second=10)
    assert bucket.take(5, now=0) == 1
    wait = bucket.wait_seconds(now=0)
    assert wait == pytest.approx(0.1)
    assert bucket.take(5, now=wait + 1e-9) == 1


def test_a_bucket_without_a_rate_grants_everything():
    bucket = TokenBucket(per_second=0)
    assert bucket.take(10**6, now=5) == 10**6
    bucket.put_back(3)
    assert bucket.wait_seconds(now=5) == 0


def test_a_window_opens_with_what_comes_back_and_closes_only_for_a_shortage():
    window = Window(first=2, most=4)
    for _ in range(10):
        window.grow()
    assert window.room == 4
    window.in_flight = 3
    window.shrink(now=10)
    window.grow()
    assert window.room == 0
    window.recover(now=10.5)
    window.grow()
    assert window.room == 0
    window.recover(now=11.1)
    window.grow()
    assert window.room == 1


def test_new_hosts_and_those_under_way_paced_or_not_take_turns():
    rotation = Rotation()
    hosts = [
        host((paced, begun, n), is_paced=paced, has_begun=begun) for paced in (0, 1) for begun in (0, 1) for n in (0, 1)
    ]
    for one in hosts:
        rotation.add(one)
        rotation.add(one)
    kinds = [rotation.take(may_pace=True).plan.key for _ in hosts]
    assert {key[:2] for key in kinds[:4]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {key[:2] for key in kinds[4:6]} == {(0, 1), (1, 1)}  # those under way have more turns
    assert {key[:2] for key in kinds[6:]} == {(0, 0), (1, 0)}
    assert [key[2] for key in kinds] == [0] * 4 + [1] * 4
    assert rotation.take(may_pace=True) is None


def test_without_tokens_paced_hosts_keep_their_place_and_others_go_on():
    rotation = Rotation()
    paced, free = host("paced", is_paced=True), host("free")
    rotation.add(paced)
    rotation.add(free)
    assert rotation.take(may_pace=False) is free
    assert rotation.take(may_pace=False) is None
    assert rotation.has_paced
    assert rotation.take(may_pace=True) is paced


def test_waiting_follows_the_round_trip_of_the_slower_of_host_and_crowd():
    quick, slow, unheard = path(*[0.002] * 50), path(*[0.4] * 50), path()
    args = {"attempt": 1, "is_last": False, "may_be_far": False}
    assert wait_seconds(quick, quick, **args) == 0.1
    assert 0.4 < wait_seconds(slow, slow, **args) < 0.8
    assert wait_seconds(quick, slow, **args) == wait_seconds(slow, quick, **args) == wait_seconds(slow, slow, **args)
    assert wait_seconds(unheard, quick, **args) == 0.25
    assert wait_seconds(unheard, unheard, **args) == 0.7


def test_a_far_host_that_was_never_heard_gets_a_second_before_it_is_called_silent():
    unheard, quick = path(), path(*[0.01] * 50)
    assert wait_seconds(unheard, quick, attempt=2, is_last=True, may_be_far=True) == 1.0
    assert wait_seconds(unheard, quick, attempt=2, is_last=True, may_be_far=False) == pytest.approx(0.375)


@given(st.lists(st.floats(0, 5)), st.lists(st.floats(0, 5)), st.integers(1, 10), st.booleans(), st.booleans())
def test_waiting_stays_within_its_bounds(host_saw, crowd_saw, attempt, is_last, may_be_far):
    args = {"attempt": attempt, "is_last": is_last, "may_be_far": may_be_far}
    least = 0.25 if is_last else 0.1
    assert least <= wait_seconds(path(*host_saw), path(*crowd_saw), **args) <= MOST_SECONDS


@given(st.lists(st.floats(0, 0.9), min_size=1))
def test_the_estimate_stays_within_what_was_measured(latencies):
    estimate = path(*latencies)
    spread = max(max(latencies) - min(latencies), latencies[0] / 2)
    assert min(latencies) - 1e-9 <= estimate.timeout_seconds <= max(latencies) + 4 * spread + 1e-9


def test_only_the_last_attempt_waits_longer():
    far = path(*[0.4] * 50)
    waits = [wait_seconds(far, far, attempt=n, is_last=n == 4, may_be_far=False) for n in (1, 2, 3, 4)]
    assert waits[0] == waits[1] == waits[2] < waits[3]


def test_an_answer_the_kernel_may_have_asked_for_again_is_not_measured():
    assert not path(1.02, 2.5).is_known


@pytest.mark.parametrize(("lost", "attempts"), [(0, 2), (1, 2), (15, 3), (40, 4), (90, 5), (150, 7), (250, 9), (1000, 9)])
def test_more_loss_needs_more_attempts_and_nine_at_most(lost, attempts):
    lossy, unheard = path(*[0.05] * 1000, lost=lost), path()
    assert attempts_needed(lossy, unheard, at_least=2) == attempts
    assert attempts_needed(unheard, lossy, at_least=2) == attempts
    assert attempts_needed(unheard, lossy, at_least=20) == 20


@given(st.integers(ENOUGH_ANSWERS, 5000), st.floats(0.003, 0.27), st.booleans())
def test_with_enough_answers_a_miss_is_rarer_than_one_in_100_000(answers, share, is_of_host):
    lossy, clean = PathEstimate(), PathEstimate()
    lossy.heard(attempt=1, latency_seconds=0.05, count=answers - int(answers * share))
    lossy.heard(attempt=2, latency_seconds=None, count=int(answers * share))
    clean.heard(attempt=1, latency_seconds=0.05, count=ENOUGH_ANSWERS)
    attempts = attempts_needed(*((lossy, clean) if is_of_host else (clean, lossy)), at_least=2)
    assert lossy.loss <= 0.002 or lossy.loss**attempts <= ACCEPTED_MISS * (1 + 1e-9)
    assert attempts <= MOST_ATTEMPTS


def test_late_answers_are_measured_against_those_of_their_age_and_before_that_nothing_is_concluded():
    crowd = path(*[0.05] * 100)
    assert crowd.is_young
    for _ in range(2):
        crowd.grow_older()
    assert not crowd.is_young
    for n in range(900):
        crowd.heard(attempt=2 if n < 4 else 1, latency_seconds=0.05)
    assert crowd.loss == pytest.approx(4 / 100)  # the 900 are too new to have late ones
    for _ in range(2):
        crowd.grow_older()
    assert crowd.loss == pytest.approx(4 / 1000)


def test_few_answers_are_never_young_however_new():
    assert not path(*[0.05] * 49).is_young


def test_many_answers_counted_at_once_are_as_many():
    once, each = path(), path(*[0.05] * 64)
    once.heard(attempt=1, latency_seconds=0.05, count=64)
    assert (once.answers, once.late) == (each.answers, each.late)
    once.heard(attempt=2, latency_seconds=None, count=16)
    assert once.loss == pytest.approx(0.2)


def test_the_first_answer_of_a_host_is_as_certain_as_those_of_others():
    others, few = path(*[0.08, 0.084] * 50), path(*[0.08] * 10)
    alone, beside_few, beside_others, far = path(), path(), path(), path()
    alone.heard(attempt=1, latency_seconds=0.1)
    beside_few.heard(attempt=1, latency_seconds=0.1, others=few)
    beside_others.heard(attempt=1, latency_seconds=0.1, others=others)
    far.heard(attempt=1, latency_seconds=0.8, others=others)
    assert alone.timeout_seconds == beside_few.timeout_seconds == pytest.approx(0.3)  # RFC 6298
    assert beside_others.timeout_seconds == pytest.approx(0.15)
    assert far.timeout_seconds == pytest.approx(1.2)


def test_an_answer_whose_attempt_says_nothing_is_measured_and_does_not_count():
    estimate = path()
    estimate.heard(attempt=None, latency_seconds=0.3)
    assert estimate.is_known
    assert (estimate.answers, estimate.late) == (0, 0)


@given(st.floats(0.001, 0.99), st.integers(0, 100), st.integers(0, 1))
def test_however_slow_and_lossy_a_path_is_one_port_needs_no_longer_than_a_slice(latency, lost, extra):
    lossy = path(*[latency] * 100, lost=lost)
    attempts = attempts_needed(lossy, lossy, at_least=2, extra=extra)
    waits = [wait_seconds(lossy, lossy, attempt=n, is_last=n == attempts, may_be_far=True) for n in range(1, attempts + 1)]
    assert sum(waits) <= 15


def test_a_loss_among_few_answers_of_one_host_is_not_believed_where_others_gave_enough():
    assert attempts_needed(path(*[0.05] * 20, lost=5), path(*[0.05] * 50), at_least=2) == 2


@pytest.mark.parametrize(
    ("answers", "lost", "attempts"), [(49, 0, 2), (1, 1, 4), (49, 1, 3), (20, 2, 4), (20, 5, 6), (49, 49, 9)]
)
def test_of_few_answers_in_all_those_that_came_late_count_with_reserve(answers, lost, attempts):
    few = path(*[0.05] * answers, lost=lost)
    assert attempts_needed(few, few, at_least=2) == attempts_needed(path(), few, at_least=2) == attempts


def extended_error(origin: int, kind: int, code: int) -> bytes:
    return struct.pack("=IBBBBII", 111, origin, kind, code, 0, 0, 0) + bytes(16)


def test_icmp_is_named_with_its_type_and_code():
    assert icmp_reason(extended_error(2, 3, 13)) == "icmp type 3 code 13"
    assert icmp_reason(extended_error(3, 1, 4)) == "icmpv6 type 1 code 4"
    assert icmp_reason(extended_error(1, 3, 13)) is None  # of local origin


@given(st.binary(max_size=40))
def test_whatever_stands_in_the_error_queue_is_read_without_an_exception(data):
    reason = icmp_reason(data)
    assert reason is None or reason.startswith("icmp")
