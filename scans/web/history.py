"""Door for browsers: the history, narrowed by filters that stand in the address, so that it can be kept and sent on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from scans import selectors
from scans.core.targets import unmap
from scans.models import MAX_LABEL_CHARS, MAX_TAG_CHARS, JobState, TermKind
from scans.selectors.history import JobFilters, JobPosition, count_jobs, history_page, without_filter
from scans.web.search import MAX_TEXT_CHARS, SearchError, parse_search

PAGE_JOBS = 25
MAX_TRIED = 3  # filters that an empty page tries to do without; each is a query
OUTCOMES = (("", "Any"), ("complete", "Complete"), ("partial", "Complete in part"), ("cancelled", "Cancelled"))
LEVELS = (("", "Any"), *((level.value, level.value.capitalize()) for level in selectors.WORST_FIRST))
STATES = (
    ("", "Any"), (JobState.QUEUED, "Waiting"), (JobState.RUNNING, "Running"), (JobState.COMPLETE, "Complete"),
    (JobState.CANCELLED, "Cancelled"),
)  # fmt: skip
POSITION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z),(\d{1,18})", re.ASCII)
# What a filter is called on the page, and what it narrows; in the order in which an empty page does without them.
NAMES = {
    "level": ("level", ("risk",)), "outcome": ("outcome", ("outcome",)), "state": ("state", ("state",)),
    "from": ("first day", ("created_after",)), "to": ("last day", ("created_before",)), "tag": ("tag", ("tag",)),
    "label": ("label", ("label",)), "q": ("search", ("text", *TermKind.values)), "address": ("address", ("address",)),
    "owner": ("owner", ("owner",)),
}  # fmt: skip
API_NAMES = {"text": "q"}  # the others are called the same


def _input(kind: str = "text", **attributes: str) -> forms.TextInput:
    widget = forms.TextInput(attrs={"class": "input", "autocomplete": "off", **attributes})
    widget.input_type = kind
    return widget


class AddressField(forms.CharField):
    """One IPv4 or IPv6 address, as it is stored."""

    def clean(self, value: Any) -> str:
        """The address, or nothing."""
        text = super().clean(value)
        try:
            return str(unmap(ip_address(text))) if text else ""
        except ValueError as error:
            raise forms.ValidationError(f"{text[:100]} is not an address.") from error


class DayField(forms.DateField):
    """A day as browsers send it, and as people write it into an address."""

    def to_python(self, value: Any) -> date | None:
        """The day, or none. A browser would not show a wrong one in the field again, so the error repeats it."""
        try:
            return super().to_python(value)
        except forms.ValidationError as error:
            raise forms.ValidationError(f"{str(value)[:40]} is no day: write it as 2026-11-24.") from error


class SearchField(forms.CharField):
    """How a target begins, and what was found there: `search.py` has the language."""

    def __init__(self, **options: Any) -> None:
        words = {"size": "34", "placeholder": "www or product:nginx 1.2", "spellcheck": "false", "autocapitalize": "off"}
        super().__init__(widget=_input("search", **words), **options)

    def clean(self, value: Any) -> str:
        """The text as it was typed, if it can be read."""
        text: str = super().clean(value)
        try:
            parse_search(text)
        except SearchError as error:
            raise forms.ValidationError(str(error)) from error
        return text


class PositionField(forms.CharField):
    """Where a page begins, as its links say it: a time and a job's number."""

    def clean(self, value: Any) -> JobPosition | None:
        """The position, or none."""
        text = super().clean(value)
        if not text:
            return None
        found = POSITION.fullmatch(text)
        try:
            return JobPosition(created_at=datetime.fromisoformat(found[1]), id=int(found[2])) if found else _refuse()
        except ValueError:
            return _refuse()


def _refuse() -> JobPosition:
    raise forms.ValidationError("No page begins there: take the links under the list.")


class HistoryForm(forms.Form):
    """The filters. What cannot be meant is an error: left out silently, it would show more than was asked for."""

    q = SearchField(required=False, max_length=MAX_TEXT_CHARS, label="Target begins, or what was found")
    address = AddressField(required=False, max_length=60, label="Scanned address", widget=_input(size="16"))
    label = forms.CharField(required=False, max_length=MAX_LABEL_CHARS, label="Label begins", widget=_input(size="14"))
    tag = forms.CharField(required=False, max_length=MAX_TAG_CHARS, label="Tag", widget=_input(size="10"))
    state = forms.ChoiceField(required=False, choices=STATES, widget=forms.Select(attrs={"class": "input"}))
    outcome = forms.ChoiceField(required=False, choices=OUTCOMES, widget=forms.Select(attrs={"class": "input"}))
    level = forms.ChoiceField(
        required=False, choices=LEVELS, label="Has a host", widget=forms.Select(attrs={"class": "input"})
    )
    owner = forms.CharField(required=False, max_length=150, label="By", widget=_input(size="10"))
    before = PositionField(required=False, max_length=60, widget=forms.HiddenInput)
    after = PositionField(required=False, max_length=60, widget=forms.HiddenInput)

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.GET, auto_id="h-%s", label_suffix="")
        for name, label in (("from", "From"), ("to", "To")):  # the first is a word of Python
            widget = forms.DateInput({"class": "input"}, "%Y-%m-%d")
            widget.input_type = "date"
            self.fields[name] = DayField(required=False, label=label, input_formats=["%Y-%m-%d"], widget=widget)
        if not (settings.IS_LOCAL or selectors.sees_all_jobs(request.user)):
            del self.fields["owner"]

    def clean(self) -> dict[str, Any]:
        """What concerns more than one filter."""
        unknown = sorted(set(self.data) - set(self.fields))
        if unknown:
            self.add_error(None, f"There is no filter {', '.join(name[:40] for name in unknown[:5])}.")
        data = self.cleaned_data
        if data.get("from") and data.get("to") and data["from"] > data["to"]:
            self.add_error("to", "The last day is before the first.")
        if data.get("before") and data.get("after"):
            self.add_error(None, "A page begins at one place only.")
        for name in ("from", "to"):
            if data.get(name) and not 1970 <= data[name].year < 9000:
                self.add_error(name, "No job was submitted in that year.")
        return data

    def shown_fields(self) -> Iterator[forms.BoundField]:
        """The fields in the order in which they stand on the page."""
        order = ("q", "label", "tag", "address", "state", "outcome", "level", "from", "to", "owner")
        return (self[name] for name in order if name in self.fields)

    def job_filters(self) -> JobFilters:
        """The valid form as the selector takes it."""
        data = self.cleaned_data
        columns = {"state": "state", "outcome": "outcome", "risk": "level", "label": "label", "tag": "tag", "owner": "owner"}
        columns |= {"address": "address"}
        text, wanted = parse_search(data["q"])
        return JobFilters(
            **{column: data.get(name) or None for column, name in columns.items()},
            **wanted,
            text=text or None,
            created_after=_midnight(data["from"]),
            created_before=_midnight(data["to"] + timedelta(days=1)) if data["to"] else None,
        )


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=UTC) if day else None


@cache_control(private=True, no_store=True)
@require_GET
def history(request: HttpRequest) -> HttpResponse:
    """The jobs that match, newest first; of a filter that cannot be read, what is wrong with it."""
    form = HistoryForm(request)
    if not form.is_valid():
        return render(request, "scans/history.html", {"form": form, "page": None}, status=422)
    filters = form.job_filters()
    before, after = form.cleaned_data["before"], form.cleaned_data["after"]
    page = history_page(request.user, filters, before=before, after=after, limit=PAGE_JOBS)
    context = {
        "form": form,
        "page": page,
        "is_narrowed": filters != JobFilters(),
        "newest": _link(request),
        "newer": page.newer and _link(request, after=_text(page.newer)),
        "older": page.older and _link(request, before=_text(page.older)),
        "is_newest": not before and not page.newer,
        "api": _api_link(filters),
    }
    if not page.rows and not page.asked and not before and not after:
        context["ways_out"] = _ways_out(request, filters)
    return render(request, "scans/history.html", context)


def _ways_out(request: HttpRequest, filters: JobFilters) -> list[dict[str, Any]]:
    """For a page without jobs: how many there are without one of the filters. The first that helps of a few."""
    active = [name for name in NAMES if request.GET.get(name)]
    for name in active[:MAX_TRIED]:
        word, fields = NAMES[name]
        count = count_jobs(request.user, without_filter(filters, *fields))
        if count.n:
            return [{"word": word, "n": count.n, "is_more": count.may_be_more, "link": _link(request, **{name: None})}]
    return []


def _link(request: HttpRequest, **changes: str | None) -> str:
    """This page's address with its filters, but another place to begin at."""
    query = {name: value for name, value in request.GET.items() if value and name not in ("before", "after")}
    query |= {name: value for name, value in changes.items() if value}
    for name in (name for name, value in changes.items() if value is None):
        query.pop(name, None)
    return f"{request.path}?{urlencode(query)}" if query else request.path


def _text(position: JobPosition) -> str:
    """A position as PositionField reads it."""
    return f"{position.created_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')},{position.id}"


def _api_link(filters: JobFilters) -> str:
    """The same jobs as JSON."""
    query = {API_NAMES.get(name, name): value for name, value in asdict(filters).items() if value is not None}
    query = {name: selectors.timestamp(value) if isinstance(value, datetime) else value for name, value in query.items()}
    return f"/scans?{urlencode(query)}" if query else "/scans"
