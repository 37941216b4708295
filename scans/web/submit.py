"""The submit page: show the form, say what its input comes to, take a submission and lead to its job.

/          GET the form, filled by the query string if there is one ─ POST a submission
/preview   POST what the input expands to: a fragment for htmx while somebody types, the page for the button "Check"
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods

from scans import selectors
from scans.conf import scanner_options
from scans.services import quotas
from scans.services.access import submitter
from scans.services.admission import AdmissionRefusedError
from scans.services.idempotency import IdempotencyInFlightError
from scans.services.jobs import submit_scan
from scans.services.problems import InvalidSubmissionError
from scans.web.forms import PREFILLED, SubmitForm
from scans.web.htmx import wants_fragment
from scans.web.lines import LIVE_LINES, Expansion, expand_input
from scans.web.once import AT_WORK, once
from scans.web.uploads import body_limited


def _too_large(request: HttpRequest, reason: str) -> HttpResponse:
    """The answer to a body that nobody has read, so that what was typed can only stand in the browser."""
    if wants_fragment(request):
        return _fragment(request, SubmitForm(), Expansion(problems=(reason,)))
    return _page(request, SubmitForm(), Expansion(problems=(reason,)), failed=True, status=413)


@cache_control(private=True, no_store=True)
@require_http_methods(["GET", "HEAD", "POST"])
@body_limited(_too_large)
def submit(request: HttpRequest) -> HttpResponse:
    """Show the form; take a submission and lead to its job, or show what is wrong and lose nothing."""
    if request.method != "POST":
        if any(name in request.GET for name in PREFILLED):
            return _checked(request, SubmitForm(_prefilled(request.GET)))
        return _page(request, SubmitForm(initial={"ai": _may_explain()}), Expansion())
    form = SubmitForm(request.POST, request.FILES)
    is_valid = form.is_valid()
    allowance = quotas.draw("submit", request, user=request.user)
    if allowance is not None and not allowance.is_granted:
        reason = f"You have submitted much: try again in {allowance.resets_in_seconds} s."
        return _later(request, form, reason, status=429, seconds=allowance.resets_in_seconds)
    if is_valid:
        # A bad target's error says no more than the page: it reads the input once more, for the sake of the good lines.
        with suppress(InvalidSubmissionError):
            try:
                return redirect("job", _submitted(request, form))
            except IdempotencyInFlightError:
                return _later(request, form, AT_WORK, status=409, seconds=1)
            except AdmissionRefusedError as refused:
                return _later(request, form, refused.detail, status=refused.status, seconds=refused.retry_after_seconds)
    return _page(request, form, _expansion(form), failed=True, status=422)


def _submitted(request: HttpRequest, form: SubmitForm) -> str:
    """The token of the job, which may be that of an earlier press of the same button."""
    wanted = form.scan_request()
    return once(request, repr(wanted), lambda: submit_scan(replace(wanted, **submitter(request))))


def _later(request: HttpRequest, form: SubmitForm, reason: str, *, status: int, seconds: int) -> HttpResponse:
    """The submission may be right, but not now: the form with all that was typed, to be sent again."""
    response = _page(request, form, Expansion(problems=(reason,)), failed=True, status=status)
    response["Retry-After"] = str(seconds)
    return response


@cache_control(private=True, no_store=True)
@require_http_methods(["GET", "HEAD", "POST"])
@body_limited(_too_large)
def preview(request: HttpRequest) -> HttpResponse:
    """What the input expands to. Nothing is stored and no name is resolved."""
    if request.method != "POST":  # the address that a checked page is reloaded from
        return redirect("submit")
    return _checked(request, SubmitForm(request.POST, request.FILES))


def _checked(request: HttpRequest, form: SubmitForm) -> HttpResponse:
    """Draw on the preview's own quota, then read the input. htmx shows only what came with a 200, so its fragment is one."""
    form.is_valid()
    allowance = quotas.draw("preview", request, user=request.user)
    is_refused = allowance is not None and not allowance.is_granted
    if allowance is not None and is_refused:
        reason = f"You have checked much: the sum comes again in {allowance.resets_in_seconds} s. Scanning works."
        expansion = Expansion(problems=(reason,))
    else:
        expansion = _expansion(form)
    if wants_fragment(request):
        response = _fragment(request, form, expansion)
    else:
        response = _page(request, form, expansion, status=429 if is_refused else 200)
    if allowance is not None and is_refused:
        response["Retry-After"] = str(allowance.resets_in_seconds)
    return response


def _expansion(form: SubmitForm) -> Expansion:
    """What the lines come to, and what stands in the way of a sum."""
    wrong = form.problems()
    expansion = expand_input(form.text, form.scan_request()) if form.text else Expansion()
    form.mark(len(expansion.bad))
    return replace(expansion, problems=(*wrong, *expansion.problems))


def _prefilled(query: QueryDict) -> QueryDict:
    """A link's fields; what it leaves out is as in the empty form."""
    data = query.copy()
    data.setdefault("profile", "default")
    if "ai" not in data and _may_explain():
        data["ai"] = "on"
    return data


def _may_explain() -> bool:
    options = scanner_options()
    return bool(options.ai.api_key) and not options.intel.offline


def _fragment(request: HttpRequest, form: SubmitForm, expansion: Expansion) -> HttpResponse:
    expansion = replace(expansion, lines=expansion.lines[:LIVE_LINES])
    return render(request, "scans/_preview.html", _read(form, expansion, failed=False))


def _read(form: SubmitForm, expansion: Expansion, *, failed: bool) -> dict[str, Any]:
    """What the fragment shows, and the page shows too."""
    most = scanner_options().resolve.max_addresses
    return {"form": form, "expansion": expansion, "failed": failed, "most_addresses": most}


def _page(
    request: HttpRequest, form: SubmitForm, expansion: Expansion, *, failed: bool = False, status: int = 200
) -> HttpResponse:
    context = _read(form, expansion, failed=failed) | {
        "options": scanner_options(),
        "recent": selectors.recent_jobs_with_levels(request.user),
    }
    return render(request, "scans/submit.html", context, status=status)
