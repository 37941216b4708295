"""The page of a job, while it runs and when it is complete, and what can be done there.

GET  job      the page; for htmx, which asks while the job runs, only what has changed, or 204
POST cancel, rerun, delete    one service each, then a redirect
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe

from scans import selectors
from scans.models import ScanJob
from scans.services import quotas
from scans.services.access import origin
from scans.services.admission import AdmissionRefusedError
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from scans.services.idempotency import IdempotencyInFlightError
from scans.services.problems import InvalidSubmissionError
from scans.services.reaper import reap
from scans.services.rerun import NothingToRerunError, rerun_job
from scans.web.htmx import STOP_POLLING, wants_fragment
from scans.web.job_rows import RowLinks, RowsForm, Shown, first_row
from scans.web.lookup import job_or_404
from scans.web.once import AT_WORK, once

Act = Callable[[HttpRequest, str], HttpResponse]

EXPORTS = (
    ("scan-export-json", "JSON", "full record"),
    ("scan-export-ndjson", "NDJSON", "one target per line"),
    ("scan-export-csv", "CSV", "for a spreadsheet"),
)
MAX_TYPED_ITEMS = 200  # of the input as typed; a list of a thousand long URLs would outweigh the page


@cache_control(private=True, no_store=True)
@require_safe
def job(request: HttpRequest, token: str) -> HttpResponse:
    """A job's page; for htmx only what changed since it last asked."""
    found = job_or_404(request, token)
    if selectors.needs_reaping(found):  # the one read that may write: without a supervisor nobody else would
        reap()
        found.refresh_from_db()
    if wants_fragment(request):
        return _changes(request, found)
    return _page(request, found)


def _by_post(act: Act) -> Act:
    """A GET does nothing and leads to the job: it comes after a login that was asked for in between."""

    @cache_control(private=True, no_store=True)  # what cannot be done is answered with the job's page
    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(act)
    def view(request: HttpRequest, token: str) -> HttpResponse:
        return act(request, token) if request.method == "POST" else redirect("job", token)

    return view


@_by_post
def cancel(request: HttpRequest, token: str) -> HttpResponse:
    """Stop a job. What was found is kept."""
    found = job_or_404(request, token)
    if not cancel_job(found, by=origin(request)):
        found.refresh_from_db()
        return _page(request, found, notice="The job had ended before it could be cancelled.", status=409)
    return redirect(found)


@_by_post
def rerun(request: HttpRequest, token: str) -> HttpResponse:
    """Scan the same targets again as a new job, or only those without a full result, and lead there."""
    found = job_or_404(request, token)
    if not found.is_finished:
        return _page(request, found, notice="The job still runs: cancel it first, or wait for its end.", status=409)
    allowance = quotas.draw("submit", request, user=request.user)
    if allowance is not None and not allowance.is_granted:
        wait = allowance.resets_in_seconds
        return _later(request, found, f"You have submitted much: try again in {wait} s.", status=429, seconds=wait)
    only_failed = request.POST.get("only") == "failed"
    again = partial(rerun_job, found, only_failed=only_failed, owner=request.user.pk, by=origin(request))
    try:
        return redirect("job", once(request, f"rerun {token} {only_failed}", again))
    except IdempotencyInFlightError:
        return _later(request, found, AT_WORK, status=409, seconds=1)
    except NothingToRerunError:
        return _page(request, found, notice="Every target of the job has a full result.", status=409)
    except InvalidSubmissionError as error:  # a limit was lowered since
        return _page(request, found, notice=" ".join(problem.detail for problem in error.problems[:3]), status=422)
    except AdmissionRefusedError as refused:
        return _later(request, found, refused.detail, status=refused.status, seconds=refused.retry_after_seconds)


@_by_post
def delete(request: HttpRequest, token: str) -> HttpResponse:
    """Delete a job and all its results."""
    delete_job(job_or_404(request, token), by=origin(request))
    return redirect("history")


def _later(request: HttpRequest, found: ScanJob, reason: str, *, status: int, seconds: int) -> HttpResponse:
    response = _page(request, found, notice=reason, status=status)
    response["Retry-After"] = str(seconds)
    return response


def _page(request: HttpRequest, found: ScanJob, *, notice: str = "", status: int = 200) -> HttpResponse:
    context = _list(request, found)
    context |= {"rows": selectors.rows_of(found, context["page"].keys), "notice": notice} | _rest(request, found)
    return render(request, "scans/job.html", context, status=status)


def _changes(request: HttpRequest, found: ScanJob) -> HttpResponse:
    """Only the rows that look different are sent, so focus, open folds and the place in the page stay as they are."""
    context = _list(request, found)
    page, now = context["page"], context["shown"]
    before = Shown.read(request.GET.get("shown", ""))
    if found.is_finished or before is None:
        context |= {"rows": selectors.rows_of(found, page.keys), "notice": ""} | _rest(request, found)
        response = render(request, "scans/_job.html", context, status=STOP_POLLING if found.is_finished else 200)
        response["HX-Retarget"], response["HX-Reswap"] = "#job", "outerHTML"
        return response
    if now == before:
        return HttpResponse(status=204)
    changed = now.changed_rows(before)
    keys = page.keys if changed is None else [page.keys[i] for i in changed]
    context |= {"rows": selectors.rows_of(found, keys), "is_other_list": changed is None}
    context |= _rest(request, found)
    return render(request, "scans/_job_changes.html", context)


def _list(request: HttpRequest, found: ScanJob) -> dict[str, Any]:
    """What the cheapest answer needs: which rows stand on the page, and how far they and the job have come."""
    form = RowsForm(request.GET, job=found)
    progress = selectors.job_progress(found)
    pace = selectors.pace(found, progress)
    page = selectors.row_slice(found, form.filters, order=form.sorting, first=first_row(request.GET))
    return {
        "job": found,
        "form": form,
        "links": RowLinks(path=found.get_absolute_url(), form=form),
        "progress": progress,
        "pace": pace,
        "page": page,
        "shown": Shown.now(found, progress, page, pace),
    }


def _rest(request: HttpRequest, found: ScanJob) -> dict[str, Any]:
    """What the parts above and below the list show."""
    rest: dict[str, Any] = {"levels": selectors.level_counts(found), "now": timezone.now()}
    if not found.is_finished:
        return rest | {"is_worked_on": selectors.has_live_supervisor()}
    is_staff = selectors.sees_all_jobs(request.user)
    repeated = selectors.repeated_job(found, request.user)
    return rest | {
        "findings": selectors.job_findings(found),
        "repeated": repeated,
        "since": selectors.job_changes(found, request.user, base=repeated),
        "submitted_by": selectors.submit_event(found) if is_staff else None,
        "typed": found.submitted[:MAX_TYPED_ITEMS],
        "rejected": found.rejected[:MAX_TYPED_ITEMS],
        "egress": selectors.job_egress(found),
        "exports": EXPORTS,
        "tags": sorted(found.tags.values_list("name", flat=True)),
    }
