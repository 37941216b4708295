"""Every page that a browser can open, as a table: a new page adds a line, and is then held to what all pages promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import Group, User
from django.utils import timezone
from django_q.models import OrmQ, Task

from scans.core.risk.operators import lay_over
from scans.core.types import Outcome, Summary, SummaryState, Told
from scans.models import (
    DeletedJob,
    JobState,
    ModelAnswer,
    RateBucket,
    ScanJob,
    SourceHealth,
    SourceReply,
    TargetResult,
    Waiver,
    WorkerHeartbeat,
)
from scans.services import audit, keys
from scans.services.audit import COMMAND_LINE, Action
from scans.services.egress import record_told
from scans.services.rescore import Selection, rescore
from tests.factories import (
    END_OF_LIFE,
    VULNERABILITIES,
    lease,
    make_address,
    make_failure,
    make_job,
    make_question,
    make_report,
    make_result,
    make_services,
)
from tests.many_sources import many_sources

DELETED = "d" * 32
WORDS = Summary(
    state=SummaryState.WRITTEN, text="Redis can be reached from anywhere.", recommendation="Close 6379.",
    deterministic_text="High: Redis on 6379.", model="gemini-x-001", citations=("EXP-009",), cited_facts=("F1", "F4"),
    finish_reason="STOP", usage={"prompt_tokens": 400, "candidates_tokens": 90, "latency_ms": 1900, "targets": 3},
)  # fmt: skip
LONG_URL = "https://shop.invalid/" + "w" * 150


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Rows of each kind, so that no page is empty."""

    running: ScanJob
    finished: ScanJob
    refused: ScanJob
    rows: dict[str, TargetResult]
    staff: User


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page: where it stands, with which status, and what has to be done there before it is looked at."""

    name: str
    path: Callable[[World], str]
    status: int = 200
    act: Callable[[Any], None] | None = None


def rescore_all() -> None:
    """Every result by rules of which one is off, one is weighed anew and one is new."""
    pack = lay_over(
        "disable: [HDR-003]\nrules:\n  - {id: EXP-001, tiers: [{at: 1, points: 50}]}\n"
        "  - {id: ORG-001, title: Web, match: ports, categories: [web_alt], points: 5, cap: 5, floor: high, "
        "evidence: E, remediation: R, reference: H}\n"
    )
    list(rescore(pack, "", Selection(), origin=COMMAND_LINE))


def make_world() -> World:
    """A job at work, a finished one with every kind of target, and a row in every list of the admin."""
    now = timezone.now()
    staff = User.objects.create_superuser("root", password="a-long-password-1")
    Group.objects.create(name="analysts")
    begun = {"state": JobState.RUNNING, "started_at": now, "owner": staff, "label": "Weekly"}
    running = make_job("127.66.0.1", "127.66.0.2", LONG_URL, **begun)
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 443], filtered=[25])), job=running)
    lease(running.targets.filter(ordinal=1))
    running.refresh_from_db()

    make_result(make_report("127.66.0.7", make_address("127.66.0.7", open_ports=[21, 22])))  # and what it was before
    finished = make_job("127.66.0.7", "gone.invalid", "10.0.0.1", "127.66.0.8", owner=staff)
    seen = make_address("127.66.0.7", open_ports=[8080], filtered=[25], sources=many_sources(), services=make_services())
    seen = replace(seen, vulnerabilities=VULNERABILITIES, end_of_life=END_OF_LIFE)
    refusal = make_failure("10.0.0.1", "out_of_scope", "10.0.0.1 is private: outside your scope.", outcome=Outcome.REFUSED)
    rows = {
        "done": make_result(make_report("127.66.0.7", seen, words=WORDS), job=finished),
        "error": make_result(make_failure("gone.invalid"), job=finished),
        "refused": make_result(refusal, job=finished),
        "clean": make_result(make_report("127.66.0.8", make_address("127.66.0.8")), job=finished),
        "pending": running.targets.get(ordinal=2),
    }
    refused = make_job("10.0.0.2", "10.0.0.3", owner=staff)
    for text in ("10.0.0.2", "10.0.0.3"):
        make_result(make_failure(text, "out_of_scope", f"{text} is private.", outcome=Outcome.REFUSED), job=refused)
    told = [Told("ip-api", "ip-api.com:80", 2), Told("names", "the system's resolver", 1), Told("rdap", "r" * 200, 1)]
    record_told([(finished.pk, told)], at=now)
    make_question(rows["done"])
    ModelAnswer.objects.create(digest="a" * 64, answer="{}", model="gemini-x-001", finish_reason="STOP", created_at=now)
    rescore_all()
    DeletedJob.objects.create(token=DELETED, owner=staff, deleted_at=now)
    SourceReply.objects.create(source="ip-api", address="127.66.0.1", state="ok", observed_at=now, expires_at=now)
    for kind in WorkerHeartbeat.Kind.values:
        WorkerHeartbeat.objects.create(kind=kind, host="lab", pid=1, started_at=now, seen_at=now)
    RateBucket.objects.create(name="ip-api:12/60s", tokens=3, counted_at=now)
    SourceHealth.objects.create(source="ip-api", blocked_until=now + timezone.timedelta(days=1), why_blocked="it failed")
    OrmQ.objects.create(key="scan", payload="not a pickle", lock=now)
    for number, success in enumerate((True, False)):
        Task.objects.create(id=str(number), name=f"task-{number}", func="f", started=now, stopped=now, success=success)
    audit.record(Action.LOGIN_FAILED, **COMMAND_LINE, name="root")
    keys.create_key(staff, name="nightly export", scopes=["read"], expires_at=None, origin=COMMAND_LINE)
    for rule_id, port, days in (("EXP-009", 6379, 30), ("ACC-001", None, 200), ("EXP-002", None, -3)):
        _waive(rule_id, port, last=now + timezone.timedelta(days=days))
    return World(running=running, finished=finished, refused=refused, rows=rows, staff=staff)


def _waive(rule_id: str, port: int | None, *, last: Any) -> None:
    Waiver.objects.create(
        rule_id=rule_id,
        scope="127.66.0.7",
        port=port,
        owner="Shop team",
        reason="Behind a filter that only the office passes; moves in spring.",
        entered_by="root",
        created_at=last - timezone.timedelta(days=300),
        expires_at=last,
    )


def _fixed(path: str) -> Callable[[World], str]:
    return lambda world: path


def _host(kind: str) -> Callable[[World], str]:
    return lambda world: world.rows[kind].get_absolute_url()


def _admin(path: str) -> Callable[[World], str]:
    return lambda world: "/admin/" + path.format(world=world, model=None)


def _send_bad_lines(page: Any) -> None:
    page.fill("[name=targets]", "127.66.0.1\n127.1\n" + "y" * 300)
    page.click("main button[type=submit], main .button--primary")
    page.wait_for_selector("[role=alert], .notice--error")


def _wait_for_endpoints(page: Any) -> None:
    page.wait_for_selector(".opblock")


def _choose_all_and_delete(page: Any) -> None:
    page.check("#action-toggle")
    page.select_option("[name=action]", "delete_selected")
    page.click("text=Go")
    page.wait_for_selector("text=Are you sure")


def _fail_to_sign_in(page: Any) -> None:
    page.fill("[name=username]", "nobody")
    page.fill("[name=password]", "wrong")
    page.click("button[type=submit]")
    page.wait_for_selector("[role=alert]")


def _make_a_key(page: Any) -> None:
    page.fill("[name=name]", "another")
    page.click("text=Make the key")
    page.wait_for_selector("#new-key")


def _waive_badly(page: Any) -> None:
    page.fill("[name=scope]", "192.0.2.1/" + "2" * 100)
    page.fill("[name=reason]", "r")
    page.eval_on_selector("form[aria-labelledby=new-h]", "form => form.noValidate = true")
    page.click("text=Accept the risk")
    page.wait_for_selector("[role=alert]")


ADMIN_LISTS = (
    "scans/scanjob", "scans/targetresult", "scans/sourcereply", "scans/clientkey", "scans/auditevent", "scans/waiver",
    "scans/modelanswer", "scans/workerheartbeat", "scans/ratebucket", "scans/sourcehealth", "scans/rescore",
    "scans/rescoredverdict",
    "django_q/ormq", "django_q/success", "django_q/failure", "auth/user", "auth/group",
)  # fmt: skip
PAGES = (
    Page(name="submit", path=_fixed("/")),
    Page(name="submit, with errors", path=_fixed("/"), status=422, act=_send_bad_lines),
    Page(name="job, running", path=lambda world: world.running.get_absolute_url()),
    Page(name="job, complete", path=lambda world: world.finished.get_absolute_url()),
    Page(name="job, all refused", path=lambda world: world.refused.get_absolute_url()),
    Page(name="host, done", path=_host("done")),
    Page(name="host, what if", path=lambda world: f"{world.rows['done'].get_absolute_url()}?closed=6379&closed=9"),
    Page(name="host, clean", path=_host("clean")),
    Page(name="host, pending", path=_host("pending")),
    Page(name="host, error", path=_host("error")),
    Page(name="host, refused", path=_host("refused")),
    Page(name="history", path=_fixed("/history")),
    Page(name="history, by what was found", path=_fixed("/history?q=finding:EXP-001")),
    Page(name="history, a search that cannot be meant", path=_fixed("/history?q=servce:x"), status=422),
    Page(name="history, nothing found", path=_fixed("/history?q=no-such-job")),
    Page(name="dashboard", path=_fixed("/dashboard")),
    Page(name="sources", path=_fixed("/sources")),
    Page(name="waivers", path=_fixed("/waivers?rule=EXP-008&scope=127.66.0.7&port=3306")),
    Page(name="waivers, with errors", path=_fixed("/waivers"), status=422, act=_waive_badly),
    Page(name="keys", path=_fixed("/keys")),
    Page(name="keys, a new one", path=_fixed("/keys"), act=_make_a_key),
    Page(name="login", path=_fixed("/login")),
    Page(name="login, wrong", path=_fixed("/login"), act=_fail_to_sign_in),
    Page(name="login, locked", path=_fixed("/locked"), status=429),
    Page(name="API docs", path=_fixed("/api/docs/"), act=_wait_for_endpoints),
    Page(name="400", path=_fixed("/suspicious"), status=400),
    Page(name="403", path=_fixed("/forbidden"), status=403),
    Page(name="403, stale form", path=_fixed("/stale-form"), status=403),
    Page(name="404", path=_fixed("/no/such/page"), status=404),
    Page(name="410", path=_fixed(f"/jobs/{DELETED}"), status=410),
    Page(name="413", path=_fixed("/too-large"), status=413),
    Page(name="500", path=_fixed("/broken"), status=500),
    Page(name="admin", path=_fixed("/admin/")),
    Page(name="admin, an application", path=_fixed("/admin/scans/")),
    *(Page(name=f"admin, {path}", path=_fixed(f"/admin/{path}/")) for path in ADMIN_LISTS),
    Page(name="admin, a search that finds nothing", path=_fixed("/admin/scans/scanjob/?q=nothing")),
    Page(name="admin, a job", path=lambda world: f"/admin/scans/scanjob/{world.finished.pk}/change/"),
    Page(name="admin, a job's history", path=lambda world: f"/admin/scans/scanjob/{world.finished.pk}/history/"),
    Page(name="admin, a result", path=lambda world: f"/admin/scans/targetresult/{world.rows['done'].pk}/change/"),
    Page(name="admin, a task", path=_fixed("/admin/django_q/failure/1/change/")),
    Page(name="admin, delete a job", path=lambda world: f"/admin/scans/scanjob/{world.finished.pk}/delete/"),
    Page(name="admin, delete chosen jobs", path=_fixed("/admin/scans/scanjob/"), act=_choose_all_and_delete),
    Page(name="admin, purge", path=_fixed("/admin/scans/scanjob/purge/")),
    Page(name="admin, purge, what would go", path=_fixed("/admin/scans/scanjob/purge/?days=1&replies=on")),
    Page(name="admin, a new key", path=_fixed("/admin/scans/clientkey/add/")),
    Page(name="admin, a user", path=lambda world: f"/admin/auth/user/{world.staff.pk}/change/"),
    Page(name="admin, a new user", path=_fixed("/admin/auth/user/add/")),
    Page(name="admin, own password", path=_fixed("/admin/password_change/")),
)

# Routes that are no pages of their own, each with the reason.
NO_PAGES = {
    r"^(?:scan|scans|ai-agent)(?:/|$)": "the API answers in JSON",
    r"^(?:healthz|readyz|metrics|api/schema/|sources\.json)$": "for machines",
    r"^\^\(\?:scans\?": "the API's own 404",
    r"^preview$": "a part of the form's page, for htmx",
    r"^(?:docs|openapi\.json)$": "lead to the API's description",
    r"^(?:logout|theme|keys/<str:prefix>/revoke|jobs/<str:token>/(?:cancel|rerun|delete))$": "take a POST and lead back",
    r"^waivers/<int:number>/withdraw$": "takes a POST and leads back",
    r"^admin/(?:login|logout)/$": "the first is /login, the second takes a POST",
    r"^admin/(?:jsi18n|autocomplete)/$": "a script and its data",
    r"^admin/r/": "leads to a page",
    r"^admin/(?:password_change/done|\(\?P<url>|\^?\(\?P<)": "a sentence after the form; what is left is the 404",
    r"^admin/[a-z_]+/[a-z]+/<path:object_id>/(?:history|delete|change)?/?$": "seen for jobs and results",
    r"^admin/(?:scans|django_q)/[a-z]+/add/$": "403: services write every row; keys are the exception, and are seen",
    r"^admin/auth/group/add/$": "the template of a new user",
    r"^admin/auth/user/<id>/password/$": "the template of one's own password",
}  # fmt: skip


def is_no_page(route: str) -> bool:
    """Whether a route stands in the list of exceptions."""
    return any(re.search(pattern, route) for pattern in NO_PAGES)
