"""Pages at their worst, all opened: every port, a thousand targets, text that is hostile, endless or from right to left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from scans.core.types import Facts
from scans.models import MAX_LABEL_CHARS, ScanJob, TargetResult, Waiver
from tests.factories import (
    CAREFUL_PAGE,
    make_address,
    make_failure,
    make_job,
    make_report,
    make_result,
    make_service,
    make_source,
    spread,
)

HEBREW = "\u05d0\u05d1\u05d2 "
# Markup, a switch of direction that nothing switches back, two scripts and a word that no line can hold.
HOSTILE = f"<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e{HEBREW}{'w' * 120}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extremes:
    """One row for each way to be too much."""

    hostile: TargetResult
    every_port: TargetResult
    thousand: ScanJob
    staff: User


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")


def try_out(page: Any) -> None:
    """An operation that takes a body, and one that takes parameters; the second is carried out."""
    for path in ("/scan", "/scans"):
        page.click(f".opblock-summary-control:has([data-path='{path}']) >> nth=0")
        page.click(f".opblock:has([data-path='{path}']) .try-out__btn >> nth=0")
    page.click(".opblock:has([data-path='/scans']) .execute")
    page.wait_for_selector(".live-responses-table .microlight")


def _authorize(page: Any) -> None:
    page.click(".btn.authorize")
    page.wait_for_selector(".modal-ux")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtremePage:
    """One page. On a large one axe compares colours for ten seconds and more: they are those of the same page when small."""

    name: str
    path: Callable[[Extremes], str]
    act: Callable[[Any], None] = unfold
    is_large: bool = False


EXTREME_PAGES = (
    ExtremePage(name="job", path=lambda extremes: extremes.hostile.job.get_absolute_url()),
    ExtremePage(name="host", path=lambda extremes: extremes.hostile.get_absolute_url()),
    ExtremePage(name="host, every port", path=lambda extremes: extremes.every_port.get_absolute_url(), is_large=True),
    ExtremePage(name="job, a thousand targets", path=lambda extremes: extremes.thousand.get_absolute_url(), is_large=True),
    ExtremePage(name="history", path=lambda extremes: "/history"),
    ExtremePage(name="waivers", path=lambda extremes: "/waivers"),
    ExtremePage(name="dashboard", path=lambda extremes: "/dashboard"),
    ExtremePage(name="API docs, tried out", path=lambda extremes: "/api/docs/", act=try_out),
    ExtremePage(name="API docs, asking for a key", path=lambda extremes: "/api/docs/", act=_authorize),
    ExtremePage(name="admin, jobs", path=lambda extremes: "/admin/scans/scanjob/"),
    ExtremePage(name="admin, results", path=lambda extremes: f"/admin/scans/targetresult/?job={extremes.hostile.job.pk}"),
    ExtremePage(name="admin, result", path=lambda extremes: f"/admin/scans/targetresult/{extremes.hostile.pk}/change/"),
    ExtremePage(name="admin, waivers", path=lambda extremes: "/admin/scans/waiver/"),
)


def make_extremes() -> Extremes:
    staff = User.objects.create_superuser("root", password="a-long-password-1", first_name=HOSTILE[:150])
    return Extremes(hostile=_hostile(staff), every_port=_every_port(staff), thousand=_thousand(staff), staff=staff)


def _hostile(owner: User) -> TargetResult:
    """What an evil host, an evil source and an evil colleague say, all on the same pages."""
    url = f"https://shop.invalid/{HEBREW.strip()}/<script>{'x' * 900}"
    said = {"product": HOSTILE, "version": HOSTILE, "banner": HOSTILE * 9, "evidence": HOSTILE * 9, "access": HOSTILE}
    web = make_service(443, "HTTP", http=replace(CAREFUL_PAGE, title=HOSTILE, server=HOSTILE, location=HOSTILE), **said)
    facts = Facts(organisation=HOSTILE, country=HOSTILE, city=HOSTILE, isp=HEBREW * 50, as_name=HOSTILE)
    seen = make_address(services=[make_service(22, "SSH", **said), web], sources=[make_source(facts=facts)])
    job = make_job(url, f"{'a' * 63}.{'b' * 63}.{'c' * 63}.invalid", owner=owner, label=HOSTILE[:MAX_LABEL_CHARS])
    row = make_result(make_report(url, seen), job=job)
    other = job.targets.exclude(pk=row.pk).get()
    make_result(make_failure(other.target, "resolve_failed", HOSTILE), job=job)
    now = timezone.now()
    Waiver.objects.create(
        rule_id="EXP-001", scope="127.66.0.1", owner=HOSTILE[:100], reason=HOSTILE, entered_by=HOSTILE[:100],
        created_at=now, expires_at=now + timedelta(days=30),
    )  # fmt: skip
    return row


def _every_port(owner: User) -> TargetResult:
    seen = make_address("127.66.0.9", ports=range(1, 65_536), open_ports=range(1, 65_536, 2))
    return make_result(make_report("127.66.0.9", seen), job=make_job("127.66.0.9", ports="1-65535", owner=owner))


def _thousand(owner: User) -> ScanJob:
    job = make_job(*(f"127.66.{n // 250}.{n % 250}" for n in range(1000)), owner=owner)
    row = make_result(make_report("127.66.0.0", make_address("127.66.0.0", open_ports=[22, 6379])), job=job)
    spread(row, job.targets.exclude(pk=row.pk))
    last = job.targets.latest("ordinal")
    make_result(make_failure(last.target), job=job)  # so that the job ends
    return job
