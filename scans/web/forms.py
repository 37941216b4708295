"""The submit form: what was typed and the file beside it become a ScanRequest, and every bad line gets its reason back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms

from scans.core.ports import PROFILES, PortError, parse_ports
from scans.core.targets import split_lines
from scans.core.text import clean_text
from scans.models import MAX_LABEL_CHARS, MAX_TAG_CHARS, AiChoice
from scans.services.jobs import ScanRequest, SubmittedItem
from scans.web.lines import split_numbered
from scans.web.uploads import read_text

MAX_LINES = 10_000  # comments and blank lines included; a job's own limit is lower
MAX_TAGS = 20  # as the API takes
OWN_PORTS = "own"
NO_TARGETS = "Name at least one address, range, host name or URL."
PREFILLED = ("targets", "profile", "ports", "ai", "label", "tags")  # what a link to the form may bring along


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileChoice:
    """One of the ways to choose ports."""

    value: str
    name: str
    hint: str


def _counted(name: str, profile: str) -> str:
    return f"{name}, {len(PROFILES[profile]):,} ports"


PROFILE_CHOICES = (
    ProfileChoice(value="default", name=_counted("Standard", "default"), hint="Web, mail, remote access, databases"),
    ProfileChoice(value="top100", name=_counted("Common", "top100"), hint="What is open most often"),
    ProfileChoice(value="exposure", name=_counted("Sensitive", "exposure"), hint="What should not be public"),
    ProfileChoice(value="all", name=_counted("All", "all"), hint="Minutes for each target"),
    ProfileChoice(value=OWN_PORTS, name="Own list", hint="For example 22,80,8000-8100"),
)


class SubmitForm(forms.Form):
    """Targets, ports, whether the model is asked, and by what the job is found again."""

    targets = forms.CharField(
        required=False,  # a file may hold them all
        strip=False,
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
    upload = forms.FileField(
        required=False, max_length=1000, widget=forms.FileInput(attrs={"accept": ".txt,.csv,.lst,.list,text/plain"})
    )
    profile = forms.ChoiceField(choices=[(choice.value, choice.name) for choice in PROFILE_CHOICES], initial="default")
    ports = forms.CharField(
        required=False,
        label="Own list of ports",
        widget=forms.TextInput(attrs={"class": "input mono", "placeholder": "22,80,8000-8100", "autocomplete": "off"}),
    )
    ai = forms.BooleanField(required=False)
    label = forms.CharField(
        required=False,
        max_length=MAX_LABEL_CHARS,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off"}),
    )
    tags = forms.CharField(
        required=False,
        widget=forms.TextInput(attrs={"class": "input", "placeholder": "perimeter, weekly", "autocomplete": "off"}),
    )
    on_invalid = forms.ChoiceField(required=False, choices=[("", "reject"), ("skip", "skip")])  # the second button's value

    profiles = PROFILE_CHOICES
    text = ""  # what was typed and the file's text, once it is known to be short enough to be read

    def clean_upload(self) -> str:
        """The text of the file, empty without one."""
        upload = self.cleaned_data["upload"]
        return read_text(upload) if upload else ""

    def clean_label(self) -> str:
        """One line that can be shown."""
        return clean_text(self.cleaned_data["label"], limit=MAX_LABEL_CHARS)

    def clean_tags(self) -> tuple[str, ...]:
        """The words between the commas, each once."""
        tags = dict.fromkeys(tag for text in self.cleaned_data["tags"].split(",") if (tag := clean_text(text, limit=255)))
        if len(tags) > MAX_TAGS:
            raise forms.ValidationError(f"{len(tags):,} tags; {MAX_TAGS} are the most.")
        if long := next((tag for tag in tags if len(tag) > MAX_TAG_CHARS), None):
            raise forms.ValidationError(f"{long[:MAX_TAG_CHARS]}… is longer than {MAX_TAG_CHARS} characters.")
        return tuple(tags)

    def clean(self) -> dict[str, Any]:
        """Merge the file into what was typed; turn profile and own list into ports, so that errors stand beside fields."""
        data = self.cleaned_data
        if "targets" in data:
            if data.get("upload"):
                self._take_over(data["upload"])
            self._check_size(data["targets"])
        spec = data.get("ports", "") if data.get("profile") == OWN_PORTS else data.get("profile", "default")
        try:
            data["port_numbers"] = parse_ports(spec)
        except PortError as error:
            self.add_error("ports", "Write the ports, for example 22,80,8000-8100." if not spec.strip() else str(error))
        return data

    def _take_over(self, text: str) -> None:
        """Put the file's text below what was typed, also in the text area: there it can be corrected."""
        typed = self.cleaned_data["targets"]
        joint = "\n" if typed.strip() and not typed.endswith(("\n", "\r")) else ""
        self.cleaned_data["targets"] = f"{typed if typed.strip() else ''}{joint}{text}"
        self.data = {name: self.data[name] for name in self.data} | {"targets": self.cleaned_data["targets"]}

    def _check_size(self, text: str) -> None:
        """Refuse what would take long to read, before it is read."""
        if text.count("\n") + text.count("\r") > 2 * MAX_LINES or len(split_numbered(text)) > MAX_LINES:
            self.add_error("targets", f"The list has more than {MAX_LINES:,} lines: split it into several jobs.")
        elif not text.strip():
            self.add_error("targets", forms.ValidationError(NO_TARGETS, code="required"))
        else:
            self.text = text

    @property
    def took_a_file(self) -> bool:
        """Whether a file's text now stands in the text area."""
        return bool(getattr(self, "cleaned_data", {}).get("upload"))

    @property
    def has_details(self) -> bool:
        """Whether the folded fields hold something to be seen."""
        return bool(self["label"].value() or self["tags"].value())

    def scan_request(self) -> ScanRequest:
        """The form as a request to the service; each item points at its line. Without ports where these are wrong."""
        data = self.cleaned_data
        return ScanRequest(
            items=tuple(self._items()),
            ports=data.get("port_numbers", ()),
            ai=AiChoice.ASKED if data.get("ai") else AiChoice.OFF,
            label=data.get("label", ""),
            tags=data.get("tags", ()),
            skip_invalid=data.get("on_invalid") == "skip",
        )

    def _items(self) -> Iterator[SubmittedItem]:
        for number, line in split_numbered(self.text):
            for text in split_lines(line):
                yield SubmittedItem(pointer=f"/lines/{number}", text=text)

    def problems(self) -> list[str]:
        """What is wrong with the fields that a sum is made of. That nothing was typed yet is no problem."""
        errors = self.errors.as_data()
        found = (error for name in ("targets", "upload", "profile", "ports") for error in errors.get(name, ()))
        return [message for error in found if error.code != "required" for message in error.messages]

    def mark(self, bad_lines: int) -> None:
        """Tell that the text area holds lines that cannot be scanned; which and why, the table of lines tells."""
        if bad_lines:
            self.add_error("targets", f"{bad_lines:,} line{'s' if bad_lines > 1 else ''} cannot be scanned.")
