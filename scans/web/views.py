"""Door for browsers: the form, a job, a host."""

from __future__ import annotations

from dataclasses import replace

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods

from scans import selectors
from scans.conf import scanner_options
from scans.models import ScanJob
from scans.services import quotas
from scans.services.access import submitter
from scans.services.jobs import submit_scan
from scans.services.problems import InvalidSubmissionError
from scans.services.reaper import reap
from scans.web.forms import SubmitForm

STOP_POLLING = 286  # htmx's own status: show this answer and ask no more


@cache_control(private=True, no_store=True)
@require_http_methods(["GET", "HEAD", "POST"])
def submit(request: HttpRequest) -> HttpResponse:
    """Show the form; take a submission and lead to its job, or show what is wrong and lose nothing."""
    may_explain = bool(scanner_options().ai.api_key) and not scanner_options().intel.offline
    if request.method != "POST":
        return _submit_page(request, SubmitForm(initial={"ai": may_explain}), status=200)
    form = SubmitForm(request.POST)
    allowance = quotas.draw("submit", request, user=request.user)
    if allowance is not None and not allowance.is_granted:
        form.add_error("targets", f"You have submitted much: try again in {allowance.resets_in_seconds} s.")
        response = _submit_page(request, form, status=429)
        response["Retry-After"] = str(allowance.resets_in_seconds)
        return response
    if form.is_valid():
        try:
            return redirect(submit_scan(replace(form.scan_request(), **submitter(request))))
        except InvalidSubmissionError as error:
            form.mark(error)
    return _submit_page(request, form, status=422)


def _submit_page(request: HttpRequest, form: SubmitForm, *, status: int) -> HttpResponse:
    context = {"form": form, "options": scanner_options(), "recent": selectors.recent_jobs_with_levels(request.user)}
    return render(request, "scans/submit.html", context, status=status)


@cache_control(private=True, no_store=True)
@require_GET
def job(request: HttpRequest, token: str) -> HttpResponse:
    """A job's page; for htmx only the fragment in it that changes while the job runs."""
    found = _job_or_404(request, token)
    if selectors.needs_reaping(found):  # the one read that may write: without a supervisor nobody else would
        reap()
        found.refresh_from_db()
    progress = selectors.job_progress(found)
    context = {
        "job": found,
        "progress": progress,
        "eta_seconds": selectors.eta_seconds(found, progress.finished),
        "rows": selectors.listed_targets(found),
    }
    is_poll = request.headers.get("HX-Request") == "true"
    status = STOP_POLLING if is_poll and found.is_finished else 200
    return render(request, "scans/_job.html" if is_poll else "scans/job.html", context, status=status)


@cache_control(private=True, no_store=True)
@require_GET
def host(request: HttpRequest, token: str, number: int) -> HttpResponse:
    """One target of a job: what is it, how bad, why, what is not known, what to do."""
    found = _job_or_404(request, token)
    row = selectors.target_by_number(found, number)
    if row is None:
        raise Http404(f"The job has no target {number}.")
    has_result = row.evidence is not None
    context = {"job": found, "row": row, "number": number, "result": selectors.wire_result(row) if has_result else None}
    return render(request, "scans/host.html", context)


def _job_or_404(request: HttpRequest, token: str) -> ScanJob:
    found = selectors.job_by_token(token, request.user)
    if found is None:
        raise Http404("There is no job with this token.")
    return found
