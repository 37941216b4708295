"""`manage.py rescore`: history by other rules, beside what it was rated by; killed at any moment it goes on."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from scans.core.risk import default_pack
from scans.core.risk.operators import lay_over
from scans.models import AuditEvent, DailyCount, Rescore, RescoredVerdict, ScanJob, TargetResult
from scans.services import rescore
from scans.services.audit import COMMAND_LINE
from scans.services.deletion import delete_job
from scans.services.rescore import Selection
from tests.cluster import ROOT, child_environment
from tests.factories import make_address, make_failure, make_job, make_report, make_result, make_services, spread
from tests.fakes import wait_until

pytestmark = pytest.mark.django_db
RULES = "disable: [EXP-002]\nrules:\n  - {id: EXP-001, tiers: [{at: 1, points: 50}]}\n"
VERSION = lay_over(RULES).version


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return str(file)


@pytest.fixture
def job():
    """A web server with SSH (low, 4), a database (high), a closed host and a name that leads nowhere."""
    targets = ["127.66.0.1", "127.66.0.2", "127.66.0.3"]
    job = make_job(*targets, "x.invalid")
    for target, ports in zip(targets, ([22, 80], [5432], []), strict=True):
        make_result(make_report(target, make_address(target, open_ports=ports)), job=job)
    make_result(make_failure("x.invalid"), job=job)
    return job


def run(*arguments) -> str:
    out = io.StringIO()
    call_command("rescore", *arguments, stdout=out)
    return out.getvalue()


def stored() -> dict[int, str]:
    columns = ("evidence", "verdict", "summary", "risk_level", "risk_score", "state", "scanned_at", "finished_at")
    return {row["pk"]: json.dumps(row, default=str) for row in TargetResult.objects.values("pk", *columns)}


def levels() -> list[tuple[int, str, int]]:
    found = RescoredVerdict.objects.order_by("result__ordinal")
    return list(found.values_list("result__ordinal", "risk_level", "risk_score"))


# --- What comes of it ----------------------------------------------------------------------------------------------


def test_other_verdicts_stand_beside_the_original_ones_which_stay_as_they_were(job, rules):
    before, counts = stored(), list(DailyCount.objects.values_list())
    said = run("--ruleset", rules)
    assert stored() == before
    assert list(DailyCount.objects.values_list()) == counts
    assert levels() == [(0, "high", 50), (1, "critical", 80), (2, "low", 0)]
    assert said.splitlines() == [
        f"Rules {VERSION}: rescored 3 results; 0 were before.",
        "          1  high -> critical",
        "          1  low -> high",
        "          1  keep their level, 0 of them with another score",
    ]
    kept = RescoredVerdict.objects.get(result__ordinal=0).verdict
    assert (kept["ruleset"], kept["level"], [finding["rule_id"] for finding in kept["findings"]]) == (
        VERSION,
        "high",
        ["EXP-001"],
    )
    run_of = Rescore.objects.get()
    assert (run_of.ruleset, run_of.rules) == (VERSION, RULES)
    assert run_of.finished_at is not None
    event = AuditEvent.objects.get(action="rescore")
    assert (event.detail["ruleset"], event.detail["results"], event.via) == (VERSION, 3, "command line")


def test_whoever_reads_the_job_is_told_that_it_changed(job, rules, client):
    etag = client.get(f"/scan/{job.token}")["ETag"]
    run("--ruleset", rules)
    assert client.get(f"/scan/{job.token}", headers={"If-None-Match": etag}).status_code == 200


def test_a_second_run_has_nothing_to_do_and_changes_nothing(job, rules):
    run("--ruleset", rules)
    made, version = list(RescoredVerdict.objects.values_list()), ScanJob.objects.get(pk=job.pk).version
    assert run("--ruleset", rules).startswith(f"Rules {VERSION}: rescored 0 results; 3 were before.")
    assert list(RescoredVerdict.objects.values_list()) == made
    assert ScanJob.objects.get(pk=job.pk).version == version


def test_other_rules_make_verdicts_of_their_own(job, rules, tmp_path):
    run("--ruleset", rules)
    (tmp_path / "more.yaml").write_text("disable: [EXP-001]")
    run("--ruleset", str(tmp_path / "more.yaml"))
    assert RescoredVerdict.objects.count() == 6
    assert Rescore.objects.count() == 2


def test_results_that_were_rated_by_these_very_rules_are_left_out(job):
    assert run().startswith(f"Rules {default_pack().version}: rescored 0 results; 0 were before.")
    TargetResult.objects.filter(ordinal=1).update(verdict={**job.targets.get(ordinal=1).verdict, "ruleset": "0"})
    run()
    assert levels() == [(1, "high", 31)]


def test_a_dry_run_says_the_same_and_writes_nothing(job, rules):
    said = run("--ruleset", rules, "--dry-run")
    assert said.startswith(f"Rules {VERSION}: would rescore 3 results; 0 were before.")
    assert not (Rescore.objects.exists())
    assert not (RescoredVerdict.objects.exists())
    assert not (AuditEvent.objects.exists())
    assert said.splitlines()[1:] == run("--ruleset", rules).splitlines()[1:]


def test_one_job_or_a_time_is_chosen(job, rules):
    other = make_result(make_report("127.66.0.9", make_address("127.66.0.9", open_ports=[22])))
    TargetResult.objects.filter(pk=other.pk).update(finished_at=timezone.now() - timedelta(days=5))
    assert "would rescore 3 " in run("--ruleset", rules, "--job", job.token, "--dry-run")
    assert "would rescore 1 " in run("--ruleset", rules, "--job", other.job.token, "--dry-run")
    yesterday = f"{timezone.now() - timedelta(days=1):%Y-%m-%d}"
    assert "would rescore 3 " in run("--ruleset", rules, "--since", yesterday, "--dry-run")
    assert "would rescore 4 " in run("--ruleset", rules, "--since", "2020-01-01", "--dry-run")


def test_targets_without_a_result_and_those_at_work_are_left_alone(rules):
    make_job("127.66.0.1")
    make_result(make_failure("x.invalid"))
    make_result(make_report("127.66.0.4"), state="scanned")
    assert "rescored 0 " in run("--ruleset", rules)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ruleset", "/no/such/rules.yaml"), "--ruleset: /no/such/rules.yaml: is not there."),
        (("--job", "0" * 32), f"There is no job '{'0' * 32}'."),
        (("--since", "yesterday"), "'yesterday' is not a day: write it like 2026-11-28."),
        (("--forget", "1+ab"), r"Nothing was rescored by '1+ab'. There are: none."),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_so(arguments, said):
    with pytest.raises(CommandError, match=re.escape(said)):
        run(*arguments)


# --- What is old, unreadable, gone ---------------------------------------------------------------------------------


def test_rows_of_earlier_versions_are_rated_by_what_they_have(rules):
    row = make_result(make_report("127.66.0.1", make_address("127.66.0.1", services=make_services())))
    evidence = row.evidence
    evidence["schema"] = 1
    for name in ("services", "sources", "answers_everywhere"):
        del evidence["addresses"][0][name]
    TargetResult.objects.filter(pk=row.pk).update(evidence=evidence)
    assert "could not be rated" not in run("--ruleset", rules)
    findings = RescoredVerdict.objects.get().verdict["findings"]
    assert "EXP-001" in {finding["rule_id"] for finding in findings}
    assert not {finding["rule_id"] for finding in findings} & {"ACC-001", "TLS-001"}  # what only services tell


def test_what_cannot_be_read_is_counted_and_named_and_holds_up_nothing(job, rules, monkeypatch):
    monkeypatch.setattr(rescore, "MAX_NAMED", 1)
    for ordinal in (0, 2):
        row = job.targets.get(ordinal=ordinal)
        TargetResult.objects.filter(pk=row.pk).update(evidence={**row.evidence, "schema": 99})
    said = run("--ruleset", rules)
    assert levels() == [(1, "critical", 80)]
    assert "          2  could not be rated:" in said
    assert f"{job.token}, target 1: ValueError: schema 99 is none of 1 to 2" in said
    assert "and 1 more" in said


def test_a_result_that_is_deleted_meanwhile_gets_no_verdict(job, rules, monkeypatch):
    other = make_result(make_report("127.66.0.9", make_address("127.66.0.9", open_ports=[22])))
    rate = rescore.rate
    monkeypatch.setattr(rescore, "rate", lambda *given: (ScanJob.objects.filter(pk=job.pk).delete(), rate(*given))[1])
    run("--ruleset", rules)
    assert list(RescoredVerdict.objects.values_list("result_id", flat=True)) == [other.pk]


def test_they_go_with_their_job(job, rules):
    run("--ruleset", rules)
    delete_job(job, by=COMMAND_LINE)
    assert not RescoredVerdict.objects.exists()


def test_a_purge_takes_them_along(job, rules):
    run("--ruleset", rules)
    ScanJob.objects.update(finished_at=timezone.now() - timedelta(days=100))
    call_command("purge", "--older-than", "90d", stdout=io.StringIO())
    assert not (RescoredVerdict.objects.exists())
    assert not (TargetResult.objects.exists())


def test_what_some_rules_made_can_be_forgotten(job, rules, client, monkeypatch):
    monkeypatch.setattr(rescore, "FORGET_ROWS", 2)
    run("--ruleset", rules)
    etag = client.get(f"/scan/{job.token}")["ETag"]
    assert run("--forget", VERSION) == f"Forgot 3 verdicts by the rules {VERSION}.\n"
    assert not (Rescore.objects.exists())
    assert not (RescoredVerdict.objects.exists())
    reply = client.get(f"/scan/{job.token}", headers={"If-None-Match": etag})
    assert {len(result["rescored"]) for result in reply.json()["results"]} == {0}


# --- Many, and killed ----------------------------------------------------------------------------------------------


def many(n: int) -> None:
    job = make_job(*(f"127.66.{i // 250}.{i % 250 + 1}" for i in range(n)))
    row = make_result(make_report("127.66.0.1", make_address("127.66.0.1", open_ports=[22])), job=job)
    spread(row, job.targets.exclude(pk=row.pk))


def test_an_interrupted_run_goes_on_where_it_was(rules, monkeypatch):
    monkeypatch.setattr(rescore, "BATCH_ROWS", 4)
    many(10)
    batches = rescore.rescore(lay_over(RULES), RULES, Selection(), origin=COMMAND_LINE)
    assert next(batches).results == 4
    batches.close()
    assert Rescore.objects.get().finished_at is None
    assert f"Rules {VERSION}: rescored 6 results; 4 were before." in run("--ruleset", rules)
    assert RescoredVerdict.objects.values("result").distinct().count() == RescoredVerdict.objects.count() == 10
    assert [event.detail["results"] for event in AuditEvent.objects.order_by("pk")] == [4, 6]


def test_as_many_queries_a_batch_however_many_results(django_assert_max_num_queries):
    many(40)
    with django_assert_max_num_queries(18):
        list(rescore.rescore(lay_over(RULES), RULES, Selection(), origin=COMMAND_LINE))


@pytest.mark.django_db(transaction=True)
def test_a_killed_run_loses_nothing_and_doubles_nothing(rules):
    """It is killed in the pause behind its first batch, which is made long for that."""
    many(130)
    code = (
        "import sys, django; django.setup()\n"
        "from scans.services import rescore; rescore.PAUSE_SECONDS = 600\n"
        "from django.core.management import call_command; call_command('rescore', '--ruleset', sys.argv[1])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, rules], cwd=ROOT, env=child_environment())
    try:
        wait_until(lambda: RescoredVerdict.objects.exists() or process.poll() is not None, seconds=60)
    finally:
        process.kill()
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert RescoredVerdict.objects.count() == rescore.BATCH_ROWS
    assert run("--ruleset", rules).startswith(f"Rules {VERSION}: rescored 80 results; 50 were before.")
    assert RescoredVerdict.objects.values("result").distinct().count() == RescoredVerdict.objects.count() == 130


# --- Where it is seen ----------------------------------------------------------------------------------------------


def test_the_api_tells_it_beside_the_verdict(job, rules, client):
    run("--ruleset", rules)
    first, *_, unresolved = client.get(f"/scan/{job.token}").json()["results"]
    assert (first["risk_level"], first["risk_score"], first["ruleset_version"]) == ("low", 4, default_pack().version)
    (other,) = first["rescored"]
    assert (other["risk_level"], other["risk_score"], other["ruleset_version"]) == ("high", 50, VERSION)
    assert [finding["rule_id"] for finding in other["findings"]] == ["EXP-001"]
    assert unresolved["rescored"] == []
    page = client.get(f"/scan/{job.token}/results").json()["results"]
    assert [result["rescored"] for result in page] == [
        result["rescored"] for result in client.get(f"/scan/{job.token}").json()["results"]
    ]


def test_the_newest_rules_stand_first_and_five_at_most(job, tmp_path, client):
    for n in range(6):
        (tmp_path / "rules.yaml").write_text(f"# {n}\ndisable: [EXP-001]")
        run("--ruleset", str(tmp_path / "rules.yaml"))
    shown = client.get(f"/scan/{job.token}").json()["results"][0]["rescored"]
    newest = list(Rescore.objects.order_by("-pk").values_list("ruleset", flat=True)[:5])
    assert [other["ruleset_version"] for other in shown] == newest


def test_the_hosts_page_shows_both_and_which_findings_differ(job, rules, client):
    path = f"/jobs/{job.token}/hosts/1"
    assert "By other rules" not in client.get(path).content.decode()
    run("--ruleset", rules)
    page = client.get(path).content.decode()
    block = re.search(r'aria-labelledby="rescored-h".+?</section>', page, re.DOTALL)[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", block).split())
    assert f"High 50 was low 4 · rules {VERSION}" in words
    assert "Reachable TCP services EXP-001 1 point 50 points" in words
    assert "SSH reachable EXP-002 3 points does not fire" in words


def test_the_same_findings_are_said_to_be_the_same(job, tmp_path, client):
    (tmp_path / "rules.yaml").write_text("disable: [EXP-003]")
    run("--ruleset", str(tmp_path / "rules.yaml"))
    assert "The same rules fire, with the same points." in client.get(f"/jobs/{job.token}/hosts/1").content.decode()
