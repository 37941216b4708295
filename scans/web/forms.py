"""The submit form: what was typed becomes a ScanRequest, and every bad line gets its reason back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms

from scans.core.ports import PROFILES, PortError, parse_ports
from scans.core.targets import split_lines
from scans.models import AiChoice
from scans.services.jobs import ScanRequest, SubmittedItem
from scans.services.problems import InvalidSubmissionError

MAX_LINES = 10_000  # comments and blank lines included; a job's own limit is lower
SHOWN_LINES = 100  # above this only the bad lines are shown beside their reasons
OWN_PORTS = "own"
_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_POINTER = re.compile(r"/lines/([0-9]{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedLine:
    """A line as typed, and what is wrong with it."""

    number: int
    text: str
    reasons: tuple[str, ...]


class SubmitForm(forms.Form):
    """Targets, ports, and whether the model is asked."""

    targets = forms.CharField(
        strip=False,
        error_messages={"required": "Name at least one address, range, host name or URL."},
        widget=forms.Textarea(
            attrs={
                "class": "input",
                "rows": 8,
                "spellcheck": "false",
                "autocapitalize": "off",
                "autocomplete": "off",
                "aria-describedby": "targets-hint",
            }
        ),
    )
    profile = forms.ChoiceField(choices=[*((name, name) for name in PROFILES), (OWN_PORTS, OWN_PORTS)], initial="default")
    ports = forms.CharField(
        required=False,
        label="Own list of ports",
        widget=forms.TextInput(attrs={"class": "input", "placeholder": "22,80,8000-8100", "autocomplete": "off"}),
    )
    ai = forms.BooleanField(required=False)
    lines: tuple[MarkedLine, ...] = ()  # as typed, once the service has found some of them bad; of a long list those only

    def clean_targets(self) -> str:
        """Refuse what would take long to read, before it is read."""
        text = str(self.cleaned_data["targets"])
        if text.count("\n") + text.count("\r") > 2 * MAX_LINES or len(_LINE_END.split(text)) > MAX_LINES:
            raise forms.ValidationError(f"The list has more than {MAX_LINES:,} lines: split it into several jobs.")
        return text

    def clean(self) -> dict[str, Any]:
        """Turn profile and own list into ports, so that an error stands beside the field it is about."""
        data = self.cleaned_data
        spec = data.get("ports", "") if data.get("profile") == OWN_PORTS else data.get("profile", "default")
        try:
            data["port_numbers"] = parse_ports(spec)
        except PortError as error:
            self.add_error("ports", "Write the ports, for example 22,80,8000-8100." if not spec.strip() else str(error))
        return data

    def scan_request(self) -> ScanRequest:
        """The valid form as a request to the service; each item points at its line."""
        return ScanRequest(
            items=tuple(self._items()),
            ports=self.cleaned_data["port_numbers"],
            ai=AiChoice.ASKED if self.cleaned_data["ai"] else AiChoice.OFF,
        )

    def _items(self) -> Iterator[SubmittedItem]:
        for number, line in enumerate(_LINE_END.split(self.cleaned_data["targets"]), 1):
            for text in split_lines(line):
                yield SubmittedItem(pointer=f"/lines/{number}", text=text)

    def mark(self, error: InvalidSubmissionError) -> None:
        """Take over the service's problems: those of a line to the line, the others to the text area as a whole."""
        typed = [
            (n, line.strip()) for n, line in enumerate(_LINE_END.split(self.cleaned_data["targets"]), 1) if line.strip()
        ]
        reasons: dict[int, list[str]] = {}
        for problem in error.problems:
            if match := _LINE_POINTER.fullmatch(problem.pointer):
                reasons.setdefault(int(match[1]), []).append(problem.detail)
            else:
                self.add_error("targets", problem.detail)
        if reasons:
            self.add_error("targets", f"{len(reasons):,} line{'s' if len(reasons) > 1 else ''} cannot be scanned.")
            self.lines = tuple(
                MarkedLine(number=number, text=text, reasons=tuple(reasons.get(number, ())))
                for number, text in typed
                if number in reasons or len(typed) <= SHOWN_LINES
            )

    @property
    def bad_lines(self) -> list[MarkedLine]:
        """The lines that cannot be scanned."""
        return [line for line in self.lines if line.reasons]
