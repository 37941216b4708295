"""Everything that changes something, done in a real browser by keyboard alone, and again without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from scans.models import ClientKey, JobOutcome, JobState, ScanJob, Waiver
from tests.factories import finish, make_address, make_failure, make_job, make_report, make_result
from tests.web.browser import watched
from tests.web.hands import Keyboard, Mouse

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.ignore_template_errors,  # the stock admin relies on missing variables
]
PASSWORD = "a-long-password-1"


@pytest.fixture(params=["by keyboard alone", "without JavaScript"])
def hand(request: pytest.FixtureRequest, chromium: Any, live_server: Any) -> Iterator[Keyboard | Mouse]:
    """Somebody at a browser, who sees in the end whether anything went wrong on the way."""
    by_keyboard = request.param == "by keyboard alone"
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=by_keyboard, reduced_motion="reduce")
    page = watched(context.new_page())
    yield Keyboard(page) if by_keyboard else Mouse(page)
    complaints, elsewhere = page.complaints, [url for url in page.requested if not url.startswith(live_server.url)]
    context.close()
    assert (complaints, elsewhere) == ([], [])


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def staff(hand, live_server, root) -> Keyboard | Mouse:
    """The same, signed in as root."""
    client = Client()
    client.force_login(root)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    hand.page.context.add_cookies([cookie])
    return hand


def test_one_signs_in_chooses_a_theme_and_signs_out(hand, root):
    page = hand.page
    page.goto("/keys")
    hand.write("[name=username]", "root")
    hand.write("[name=password]", PASSWORD)
    hand.go("main button")
    page.wait_for_url("**/keys")
    hand.go("button[value=dark]")
    assert page.get_attribute("html", "data-theme") == "dark"
    hand.go("button:text-is('Sign out')")
    page.goto("/keys")
    page.wait_for_url("**/login?next=/keys")


def test_the_history_is_paged_filtered_and_shown_whole_again(hand):
    for n in range(27):
        make_job(f"127.66.0.{n}", label=f"night {n}")
    make_result(make_report("127.66.1.1", make_address("127.66.1.1", open_ports=[6379])))
    page, jobs = hand.page, hand.page.locator(".jobs tbody th[scope=row]")
    page.goto("/history")
    assert jobs.count() == 25
    hand.go("[rel=next]")
    assert jobs.count() == 3
    hand.go("[rel=prev]")
    assert jobs.count() == 25
    hand.unfold("summary:has-text('Searching by what was found')")
    assert page.is_visible("text=A port that speaks this language")
    hand.choose("[name=level]", "High")
    hand.go("button:text-is('Filter')")
    assert jobs.all_inner_texts()[0].startswith("127.66.1.1")
    assert jobs.count() == 1
    hand.go("a:text-is('Clear')")
    assert jobs.count() == 25
    hand.write("[name=label]", "night 26")
    hand.go("button:text-is('Filter')")
    hand.go(".jobs th a")
    assert page.inner_text("h1") == "night 26"


def test_a_job_is_cancelled_scanned_again_in_part_and_whole_and_deleted(hand):
    job = make_job("127.66.0.1", "127.66.0.2", state=JobState.RUNNING, started_at=timezone.now())
    make_result(make_report("127.66.0.1"), job=job)
    page, before = hand.page, [job.pk]

    def new_job() -> ScanJob:
        made = ScanJob.objects.exclude(pk__in=before).get()
        before.append(made.pk)
        assert page.url.endswith(made.get_absolute_url())
        page.goto(job.get_absolute_url())
        return made

    page.goto(job.get_absolute_url())
    hand.unfold("#confirm-cancel > summary")
    hand.go("text=Cancel now")
    job.refresh_from_db()
    assert (job.outcome, page.is_visible("main >> text=Cancelled")) == (JobOutcome.CANCELLED, True)
    hand.go("text=Rerun the 1 without a full result")
    assert [row.target for row in new_job().targets.all()] == ["127.66.0.2"]
    hand.go("text=Scan all 2 again")
    assert new_job().total_targets == 2
    hand.unfold("#confirm-delete > summary")
    hand.go("text=Delete now")
    assert not ScanJob.objects.filter(pk=job.pk).exists()
    assert page.goto(job.get_absolute_url()).status == 410
    page.complaints.clear()  # about that


def test_a_risk_is_accepted_from_where_it_stands_and_the_waiver_withdrawn(staff):
    page = staff.page
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22, 6379])))
    page.goto(row.get_absolute_url())
    staff.go("#f-EXP-009 a[href*='/waivers']")
    assert page.input_value("[name=scope]") == "127.66.0.1"
    staff.write("[name=owner]", "Shop team")
    staff.write("[name=reason]", "Moves in spring")
    staff.go("text='Accept the risk'")
    assert "Shop team" in page.inner_text("#f-EXP-009")
    page.goto("/waivers")
    staff.choose("[name=rule_id]", "EXP-001")
    staff.write("[name=scope]", "127.66.0.2")
    staff.write("[name=owner]", "Shop team")
    staff.write("[name=reason]", "Also")
    staff.go("text='Accept the risk'")
    assert set(Waiver.objects.values_list("rule_id", "scope")) == {("EXP-009", "127.66.0.1"), ("EXP-001", "127.66.0.2")}
    staff.go("[aria-label^='Withdraw'][aria-label*='EXP-009']")
    assert list(Waiver.objects.filter(withdrawn_at=None).values_list("rule_id", flat=True)) == ["EXP-001"]


def test_a_key_is_made_and_revoked(staff):
    page = staff.page
    page.goto("/keys")
    staff.write("[name=name]", "nightly")
    staff.choose("[name=days]", "30")
    staff.go("text=Make the key")
    assert page.inner_text("#new-key").startswith("ipi_")
    staff.go("[aria-label^='Revoke nightly']")
    assert list(ClientKey.objects.values_list("name", "revoked")) == [("nightly", True)]


def test_in_the_admin_jobs_are_filtered_chosen_scanned_again_and_purged(staff):
    page, old = staff.page, timezone.now() - timedelta(days=400)
    kept, failed = make_job("127.66.0.1"), make_job("gone.invalid", created_at=old)
    make_result(make_failure("gone.invalid"), job=failed)
    aged = make_job("127.66.0.3", created_at=old)
    finish(aged)
    ScanJob.objects.exclude(pk=kept.pk).update(finished_at=old)
    page.goto("/admin/scans/scanjob/")
    staff.go("#changelist-filter a[href*='outcome__exact=partial']")
    assert page.locator("#result_list tbody tr").count() == 1
    staff.tick(f"input.action-select[value='{failed.pk}']")
    staff.choose("[name=action]", "Scan all")
    staff.go("button[name=index]")
    assert page.is_visible("text=1 of 1 jobs are scanned again")
    staff.tick(f"input.action-select[value='{failed.pk}']")
    staff.choose("[name=action]", "Delete")
    staff.go("button[name=index]")
    staff.go("[type=submit][value^='Yes']")
    assert not ScanJob.objects.filter(pk=failed.pk).exists()
    page.goto("/admin/scans/scanjob/")
    staff.go("text=Purge by age")
    staff.write("[name=days]", "365")
    staff.go("text=Count what would go")
    assert ScanJob.objects.filter(pk=aged.pk).exists()
    staff.go("text=Purge 1 job, for good")
    assert ScanJob.objects.filter(pk=kept.pk).exists()
    assert not ScanJob.objects.filter(pk=aged.pk).exists()


def test_in_the_admin_a_colleague_and_a_key_are_made(staff):
    page = staff.page
    page.goto("/admin/auth/user/add/")
    staff.write("[name=username]", "ann")
    staff.write("[name=password1]", PASSWORD)
    staff.write("[name=password2]", PASSWORD)
    staff.go("[name=_save]")
    staff.tick("[name=is_staff]")
    staff.go("[name=_save]")
    assert User.objects.get(username="ann").is_staff
    page.goto("/admin/scans/clientkey/")
    staff.go(".addlink")
    staff.write("[name=name]", "nightly")
    staff.choose("[name=owner]", "ann")
    staff.go("[type=submit]")
    assert ClientKey.objects.get().name == "nightly"


def test_a_focus_that_cannot_be_seen_would_be_noticed(page):
    page.goto("/login")
    assert Keyboard(page).walk() == []
    page.evaluate("document.styleSheets[0].insertRule('.input:focus { outline: 0 !important }')")
    assert [fault for fault in Keyboard(page).walk() if 'name="username"' in fault]
