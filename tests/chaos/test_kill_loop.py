"""kill -9, again and again, to every role: each target ends with one result, each job once, and the work goes on in seconds.

KILLS=160 ROUNDS=20 make it a long run. No time is a bound; what was measured is recorded.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import pytest

from demo import gemini
from demo.stand_in import stand_in
from tests.chaos.figures import record
from tests.chaos.ground import ground
from tests.chaos.kill_loop import POISON, ROLES, KillLoop, percentile
from tests.chaos.roles import Roles, kill
from tests.patience import PATIENCE
from tests.stack import becomes

ROUNDS = int(os.environ.get("ROUNDS", 2))  # of the two smaller tests
AI_ROLES = ("worker", "monitor", "pusher", "guard", "cluster")
pytestmark = [pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]


def test_whatever_is_killed_every_target_has_one_result_every_job_one_end_and_nothing_stays_behind(
    tmp_path, ledger, is_postgres
):
    kills = int(os.environ.get("KILLS", 15 if is_postgres else 30))
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    story = KillLoop(tmp_path, ledger, seed=seed).run(kills)

    assert ledger.not_once() == []
    assert ledger.twice() == []
    stored = dict(ledger.rows("SELECT token, state FROM scans_scanjob"))
    assert set(story.accepted) - set(story.doomed) <= set(stored)
    assert not stored.keys() & set(story.deleted)
    assert ledger.strays() == {}
    assert {stored[token] for token in set(story.cancelled) - set(story.doomed)} <= {"cancelled"}
    assert story.orphans == []
    assert set(story.kills_by_role) == set(ROLES)

    of_jobs = "FROM scans_targetresult t JOIN scans_scanjob j ON j.id = t.job_id WHERE"
    assert ledger.rows(f"SELECT t.id {of_jobs} t.state = 'cancelled' AND j.state <> 'cancelled'") == []
    for before, after in story.reruns:  # both are final
        if not {before, after} & set(story.doomed):
            again = ledger.rows(f"SELECT t.target {of_jobs} j.token = %s ORDER BY t.ordinal", after)
            assert again == ledger.rows(
                f"SELECT t.target {of_jobs} j.token = %s AND t.state <> 'done' ORDER BY t.ordinal", before
            )

    failed = dict(ledger.rows("SELECT target, error_code FROM scans_targetresult WHERE state NOT IN ('done', 'cancelled')"))
    poison = {f"{network}0.{job}": error for network, error in POISON.items() for job in (1, 2)}
    assert failed == poison  # every poison ended with its error, and no innocent was given up

    resumes = story.resumes(ledger.write_times())
    record(
        "Kill loop over all roles",
        ledger.name,
        kills=len(story.kills) + len(story.poison_kills),
        **story.kills_by_role,
        holder_of_poison=len(story.poison_kills),
        cancelled=len(story.cancelled),
        deleted=len(story.deleted),
        rerun=len(story.reruns),
        seconds=round(story.seconds),
        targets=ledger.count("SELECT count(*) FROM scans_targetresult"),
        lost=0,
        twice=0,
        orphans=0,
        innocent_given_up=0,
        resume_p50_s=percentile(resumes, 50),
        resume_p95_s=percentile(resumes, 95),
        resume_max_s=max(resumes),
    )


def test_a_cluster_that_stalls_because_its_idle_workers_were_killed_is_healed(start, ledger):
    """The one killed while it waits for a task takes the lock of the queue with it, and its successors wait for ever."""
    stack, roles, seconds = start(), Roles(2), []
    ledger.count_from_now()
    with ground() as ports:
        for n in range(ROUNDS):
            assert becomes(lambda: len(roles.look(stack)["worker"]) == 2)
            time.sleep(1)
            killed_at = time.time()
            kill(*roles.look(stack)["worker"])
            stack.scan(ip_addresses=[f"127.90.{n}.0-127.90.{n}.39"], ports=ports.quick)
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
            seconds.append(max(ledger.write_times()) - killed_at)
    stack.stop()
    assert ledger.not_once() == []
    assert stack.text().count("the cluster scan does none of the work that waits: killed") >= ROUNDS
    restarts = "SELECT coalesce(sum(n), 0) FROM scans_dailycount WHERE kind = 'restart' AND owner = 0 AND value LIKE %s"
    counted = ledger.count(restarts, "%scan:stalled")
    assert counted >= ROUNDS  # each round was a stall, and a restart has healed it
    record("All idle workers killed", ledger.name, rounds=ROUNDS, healed_max_s=max(seconds))


def test_after_everything_was_killed_the_next_start_goes_on_at_once(start, ledger):
    stack, seconds = start(), []
    ledger.count_from_now()
    with ground() as ports:
        for n in range(ROUNDS):
            stack.scan(ip_addresses=[f"127.91.{n}.0-127.91.{n}.199"], ports=ports.all)
            assert becomes(ledger.holders)
            stack.kill()
            killed_at = time.time()
            stack = start()
            assert becomes(lambda at=killed_at: ledger.write_times()[-1:] > [at]), stack.text()[-3000:]
            seconds.append(next(at for at in ledger.write_times() if at > killed_at) - killed_at)
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
    stack.stop()
    assert ledger.not_once() == []
    record("Everything killed and started again", ledger.name, rounds=ROUNDS, resume_max_s=max(seconds))


def test_whoever_of_the_cluster_for_summaries_is_killed_every_target_gets_its_words_once(start, ledger):
    """Killed in the middle of a call: the stand-in for the model keeps its answers back until then."""
    may_answer, roles = threading.Event(), Roles(1, queue="ai")

    def model(path: str, request: Any) -> Any:
        may_answer.wait(PATIENCE)
        return gemini.answer(path, request)

    with ground() as ports, stand_in(model) as url:
        stack = start(OFFLINE="0", GEMINI_API_KEY="of-this-test", GEMINI_BASE_URL=url, AI_SEND_PRIVATE="1")
        ledger.count_from_now()
        for n, role in enumerate(AI_ROLES):
            assert becomes(lambda role=role: roles.look(stack)[role]), role
            may_answer.clear()
            # One closed port more makes other facts: the answer about those before is kept and would spare the call.
            stack.scan(ip_addresses=[f"127.92.{n}.0/30"], ports=[*ports.quick, *range(1, 2 + n)], ai=True)
            assert becomes(lambda: ledger.holders(state="scanned")), stack.text()[-3000:]
            assert kill(*roles.look(stack)[role]), role
            may_answer.set()
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
    stack.stop()
    assert ledger.not_once() == []
    words = [json.loads(words)["state"] for (words,) in ledger.rows("SELECT CAST(summary AS text) FROM scans_targetresult")]
    assert words == ["written"] * 4 * len(AI_ROLES)
    record("Cluster for summaries killed", ledger.name, kills=len(AI_ROLES), targets=len(words), lost=0, twice=0)
