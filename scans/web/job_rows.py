"""The list of targets on a job's page as its address describes it: filters, order, page; and what the reader has seen of it.

Everything stands in the URL, so that a list can be sent to a colleague, and works without JavaScript.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict

from scans.models import ScanJob, TargetState
from scans.selectors import WORST_FIRST, Pace, Progress, RowFilters, RowOrder, RowSlice, StateFilter

ANY = ("", "Any")
STATE_WORDS = {
    StateFilter.DONE: "Done",
    StateFilter.WITHOUT: "Without a full result",
    StateFilter.UNRESOLVED: "Unresolved",
    StateFilter.FAILED: "Failed",
    StateFilter.REFUSED: "Refused",
    StateFilter.CANCELLED: "Cancelled",
    StateFilter.OPEN: "Not finished",
}
ORDER_WORDS = {RowOrder.WORST: "Worst first", RowOrder.SUBMITTED: "As submitted"}
LETTERS = {
    TargetState.PENDING: "p",
    TargetState.LEASED: "l",
    TargetState.SCANNED: "s",
    TargetState.DONE: "d",
    TargetState.ERROR: "e",
    TargetState.REFUSED: "r",
    TargetState.CANCELLED: "c",
}
TICK_SECONDS = 10  # so often the time left is told anew while nothing else happens
_SHOWN = re.compile(r"([0-9]{1,9}-[0-9]{1,9}-[0-9]{1,9})\.([0-9a-f]{8})\.([a-z]{0,200})")


class RowsForm(forms.Form):
    """Filters and order, a GET form. What cannot be meant is said beside its field and filters nothing."""

    q = forms.CharField(required=False, label="Target begins with", max_length=255)
    level = forms.ChoiceField(required=False, label="Risk", choices=[ANY, *((str(v), v.capitalize()) for v in WORST_FIRST)])
    state = forms.ChoiceField(required=False, label="State", choices=[ANY, *((str(v), w) for v, w in STATE_WORDS.items())])
    port = forms.IntegerField(required=False, label="Open port", min_value=1, max_value=65_535)
    order = forms.ChoiceField(required=False, label="Order", choices=[(str(v), w) for v, w in ORDER_WORDS.items()])
    finding = forms.RegexField(r"^[A-Z0-9][A-Za-z0-9_-]{0,39}$", required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, *, job: ScanJob) -> None:
        self.default_order = RowOrder.WORST if job.is_finished else RowOrder.SUBMITTED
        super().__init__(data if "order" in data else _with(data, order=self.default_order))
        for field in self.fields.values():
            field.widget.attrs["class"] = "input"
        self.fields["port"].widget.attrs["inputmode"] = "numeric"
        self.fields["q"].widget.attrs |= {"placeholder": "203.0.113. or www", "spellcheck": "false", "autocapitalize": "off"}
        self.full_clean()

    @property
    def filters(self) -> RowFilters:
        """What passed."""
        data = self.cleaned_data
        return RowFilters(
            level=data.get("level") or None,
            state=StateFilter(data["state"]) if data.get("state") else None,
            port=data.get("port"),
            finding=data.get("finding") or None,
            text=data.get("q", ""),
        )

    @property
    def sorting(self) -> RowOrder:
        """How the list is sorted."""
        return RowOrder(self.cleaned_data.get("order") or self.default_order)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLinks:
    """Addresses of the same page with another part of its list; they leave out what goes without saying."""

    path: str
    form: RowsForm

    def url(self, **changes: Any) -> str:
        """The address of this list, changed. `from` begins anew unless it is among the changes."""
        query = QueryDict(mutable=True)
        for name, value in (self._values() | changes).items():
            if value not in (None, ""):
                query[name] = str(value)
        return f"{self.path}?{query.urlencode()}" if query else self.path

    def _values(self) -> dict[str, Any]:
        filters, order = self.form.filters, self.form.sorting
        return {
            "q": filters.text,
            "level": filters.level,
            "state": filters.state,
            "port": filters.port,
            "finding": filters.finding,
            "order": order if order != self.form.default_order else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a reader has before them. The poll brings it along, and is answered with what differs, or with 204.

    A row's look follows from its state, so one letter each says it all. `sums` is what the counts follow from: the job's
    version does not rise when a worker takes a row or gives it back.
    """

    sums: str
    rows: str  # a digest of which rows, in this order
    letters: str

    @classmethod
    def now(cls, job: ScanJob, progress: Progress, page: RowSlice, pace: Pace) -> Shown:
        """What is shown now."""
        ticks = int(pace.elapsed_seconds) // TICK_SECONDS if pace.eta_seconds is not None else 0
        return cls(
            sums=f"{job.version}-{progress.working}-{ticks}",
            rows=f"{zlib.crc32(repr([key.ordinal for key in page.keys]).encode()):08x}",
            letters="".join(LETTERS[TargetState(key.state)] for key in page.keys),
        )

    @classmethod
    def read(cls, text: str) -> Shown | None:
        """What a poll brought along; None if it is no such thing."""
        match = _SHOWN.fullmatch(text)
        return cls(sums=match[1], rows=match[2], letters=match[3]) if match else None

    def __str__(self) -> str:
        return f"{self.sums}.{self.rows}.{self.letters}"

    def changed_rows(self, before: Shown) -> list[int] | None:
        """Which rows of the page look different now, counted from 0; None if it lists other rows than before."""
        if self.rows != before.rows or len(self.letters) != len(before.letters):
            return None
        return [i for i, (new, old) in enumerate(zip(self.letters, before.letters, strict=True)) if new != old]


def first_row(data: QueryDict) -> int:
    """The first row that the address asks for; the first of all where that cannot be meant."""
    text = data.get("from", "")
    return max(1, int(text)) if re.fullmatch(r"[0-9]{1,7}", text) else 1


def _with(data: QueryDict, **changes: str) -> QueryDict:
    copy = data.copy()
    for name, value in changes.items():
        copy[name] = value
    return copy
