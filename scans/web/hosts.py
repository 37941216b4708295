"""The page of one target of a job."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from scans import selectors
from scans.models import OPEN_STATES, TargetState
from scans.web.htmx import STOP_POLLING, asked_part, wants_fragment
from scans.web.lookup import job_or_404

WHAT_IF_PART = "what-if-then"


@cache_control(private=True, no_store=True)
@require_GET
def host(request: HttpRequest, token: str, number: int) -> HttpResponse:
    """One target of a job: what is it, how bad, why, what is not known, what to do.

    htmx asks again with the state that the page shows: while that stands there is nothing to send. A page without a
    report is replaced as a whole; one that only waits for the model's words gets these alone, so that folds stay open.
    For the part that supposes ports to be closed it asks by that part's name.
    """
    job = job_or_404(request, token)
    row = selectors.target_by_number(job, number)
    if row is None:
        raise Http404(f"The job has no target {number}.")
    what_if = selectors.what_if(row, request.GET.getlist("closed"))
    if asked_part(request) == WHAT_IF_PART and what_if:
        return render(request, "scans/_host_what_if_then.html", {"what_if": what_if})
    seen = request.GET.get("seen") if wants_fragment(request) else None
    if seen == row.state:
        return HttpResponse(status=204)
    others = selectors.rescored_verdicts(job, [row]).get(row.pk, ())
    context = {
        "job": job,
        "row": row,
        "number": number,
        "result": selectors.host_result(row) if row.evidence is not None else None,
        "may_waive": selectors.may_waive(request.user),
        "what_if": what_if,
        "question": selectors.model_question(row),
        "others": selectors.other_verdicts(row.verdict, others),
        "history": selectors.host_history(row, request.user),
        "status_url": request.build_absolute_uri(reverse("scan-read", args=[job.token])),
        "now": timezone.now(),
    }
    if seen is None:
        return render(request, "scans/host.html", context)
    template = "scans/_host_words.html" if seen == TargetState.SCANNED else "scans/_host.html"
    return render(request, template, context, status=200 if row.state in OPEN_STATES else STOP_POLLING)
