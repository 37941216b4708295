"""The page of waivers: which risks are accepted, by whom, why and until when; accepted here, and withdrawn.

Everybody may read it. Who may change it decides `selectors.may_waive`; to others the page shows no form.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST

from scans import selectors
from scans.conf import known_rules
from scans.models import MAX_OWNER_CHARS, MAX_REASON_CHARS, MAX_SCOPE_CHARS, Waiver
from scans.services.access import origin
from scans.services.waivers import MAX_DAYS, WaiverRefusedError, WaiverRequest, add_waiver, withdraw_waiver

USUAL_DAYS = 90
PREFILLED = {"rule": "rule_id", "scope": "scope", "port": "port"}  # what a link to the form may bring along
NOT_STAFF = "Only staff may accept a risk or withdraw a waiver."


def _day_input() -> forms.DateInput:
    widget = forms.DateInput(attrs={"class": "input"}, format="%Y-%m-%d")
    widget.input_type = "date"
    return widget


class WaiverForm(forms.Form):
    """A risk to accept. What is right decides the service; here only what cannot even be asked is refused."""

    rule_id = forms.ChoiceField(label="Finding", widget=forms.Select(attrs={"class": "input"}))
    scope = forms.CharField(max_length=MAX_SCOPE_CHARS, label="Where", widget=forms.TextInput(attrs={"class": "input mono"}))
    port = forms.IntegerField(
        required=False, label="Only on port", widget=forms.TextInput(attrs={"class": "input mono", "inputmode": "numeric"})
    )
    owner = forms.CharField(max_length=MAX_OWNER_CHARS, label="Owner", widget=forms.TextInput(attrs={"class": "input"}))
    reason = forms.CharField(
        max_length=MAX_REASON_CHARS, label="Reason", widget=forms.Textarea(attrs={"class": "input", "rows": 3})
    )
    last_day = forms.DateField(label="Until the end of", input_formats=["%Y-%m-%d"], widget=_day_input())
    next = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict | None = None, *, initial: dict[str, Any] | None = None) -> None:
        today = timezone.now().date()
        super().__init__(data, initial={"last_day": today + timedelta(days=USUAL_DAYS)} | (initial or {}))
        choices = [("", "Choose a rule"), *((rule.id, f"{rule.id} {rule.title}") for rule in known_rules().values())]
        self.fields["rule_id"].choices = choices  # type: ignore[attr-defined]
        bounds = {"min": today.isoformat(), "max": (today + timedelta(days=MAX_DAYS)).isoformat()}
        self.fields["last_day"].widget.attrs |= bounds
        for name in self.errors if self.is_bound else ():
            if name in self.fields:
                self.fields[name].widget.attrs |= {"aria-invalid": "true", "aria-describedby": f"id_{name}_error"}

    def request(self) -> WaiverRequest:
        """The form as a request to the service."""
        data = self.cleaned_data
        last_day: date = data["last_day"]
        return WaiverRequest(
            rule_id=data["rule_id"],
            scope=data["scope"],
            port=data["port"],
            owner=data["owner"],
            reason=data["reason"],
            last_day=last_day,
        )


@cache_control(private=True, no_store=True)
@require_http_methods(["GET", "HEAD", "POST"])
def waivers(request: HttpRequest) -> HttpResponse:
    """All waivers, and a form for another. Who came from a finding is led back to it."""
    if request.method != "POST":
        given = {field: request.GET[name] for name, field in PREFILLED.items() if name in request.GET}
        return _page(request, WaiverForm(initial={**given, "next": _own_path(request.GET.get("next", ""))}))
    if not selectors.may_waive(request.user):
        raise PermissionDenied(NOT_STAFF)
    form = WaiverForm(request.POST)
    if form.is_valid():
        try:
            made = add_waiver(form.request(), origin=origin(request))
        except WaiverRefusedError as error:
            for name, problem in error.problems.items():
                form.add_error(name or None, problem)
        else:
            return redirect(_own_path(form.cleaned_data["next"]) or f"{reverse('waivers')}#w{made.pk}")
    return _page(request, form, status=422)


@require_POST
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """End a waiver. Doing so again is no error."""
    if not selectors.may_waive(request.user):
        raise PermissionDenied(NOT_STAFF)
    waiver = Waiver.objects.filter(pk=number).first() if number < 2**63 else None
    if waiver is None:
        raise Http404(f"There is no waiver {number}.")
    withdraw_waiver(waiver, origin=origin(request))
    return redirect("waivers")


def _own_path(text: str) -> str:
    """A page of ours to lead back to; empty for anything else."""
    is_ours = text.startswith("/") and url_has_allowed_host_and_scheme(text, allowed_hosts=None)
    return text if is_ours else ""


def _page(request: HttpRequest, form: WaiverForm, *, status: int = 200) -> HttpResponse:
    holding, ended = selectors.listed_waivers()
    titles = {rule.id: rule.title for rule in known_rules().values()}
    context = {
        "form": form,
        "holding": holding,
        "ended": ended,
        "titles": titles,
        "may_waive": selectors.may_waive(request.user),
        "max_days": MAX_DAYS,
    }
    return render(request, "scans/waivers.html", context, status=status)
