"""An operator's own rules: a file that lies over the built-in pack.

    disable: [EXP-002]                      # rules that no longer fire
    rules:
      - {id: EXP-009, points: 40, cap: 60}  # a rule of the pack: what is named is changed, the rest stays
      - {id: ORG-001, match: ports, …}      # a new one, with all fields of its kind of matcher

The version of what comes of it is the pack's, a plus sign, and the first digits of the file's SHA-256, so that every
verdict says by which rules it was made. Whatever cannot be meant is a RuleError that names file, line, rule and field.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scans.core.risk.entry import Entry, RuleError, shown
from scans.core.risk.pack import Pack, build, default_entries, default_pack, read
from scans.core.risk.yaml_lines import Lined

MAX_FILE_BYTES = 256 * 1024
DIGEST_CHARS = 12
CHANGEABLE = frozenset({"title", "points", "cap", "tiers", "floor", "evidence", "remediation", "reference"})
NO_FLOOR = "none"


@cache
def pack_of(path: str) -> Pack:
    """The pack with the operator's file over it; the built-in one where there is no file. Read once in each process.

    Raises RuleError.
    """
    return read_pack(path)[0] if path else default_pack()


def read_pack(path: str) -> tuple[Pack, str]:
    """The pack with this file over it, and the text of the file. Raises RuleError, which begins with the path."""
    try:
        text = _text(Path(path))
        return lay_over(text), text
    except RuleError as error:
        raise RuleError(f"{path}: {error}") from error


def lay_over(text: str) -> Pack:
    """The built-in pack with this over it. Raises RuleError."""
    import hashlib

    own = Entry("the file", read(text))
    own.check_fields(required=frozenset(), optional={"disable", "rules"})
    if not own.raw:
        raise RuleError("holds neither disable nor rules.")
    base = Entry("pack", default_entries())
    entries = {entry.name: entry for entry in base.entries("rules")}
    disabled = _disabled(own, entries)
    given = own.entries("rules") if "rules" in own.raw else []
    _refuse_contradictions(given, disabled)
    changed = {entry.text("id"): _laid_over(entries[entry.name], entry) for entry in given if entry.name in entries}
    kept = [changed.get(name, entry.raw) for name, entry in entries.items() if name not in disabled]
    new = [_without_no_floor(entry) for entry in given if entry.name not in entries]
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]
    return build({**base.raw, "version": f"{base.text('version')}+{digest}", "rules": [*kept, *new]})


def _text(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        raise RuleError("is not there." if not path.exists() else "is not a file.")
    try:
        with path.open("rb") as file:
            read_bytes = file.read(MAX_FILE_BYTES + 1)
        if len(read_bytes) > MAX_FILE_BYTES:
            raise RuleError(f"is larger than {MAX_FILE_BYTES // 1024} kB.")
        return read_bytes.decode("utf-8")
    except OSError as error:
        raise RuleError(f"cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RuleError(f"is not UTF-8: byte {error.start + 1}.") from error


def _disabled(own: Entry, entries: dict[str, Entry]) -> frozenset[str]:
    ids = own.values("disable") if "disable" in own.raw else []
    for rule_id in ids:
        if not isinstance(rule_id, str) or rule_id not in entries:
            raise own.wrong("disable", f"{shown(rule_id)} is no rule of the built-in pack, which docs/risk.md lists")
    return frozenset(map(str, ids))


def _refuse_contradictions(given: list[Entry], disabled: frozenset[str]) -> None:
    seen: set[str] = set()
    for entry in given:
        entry.check_fields(required={"id"}, optional=frozenset(entry.raw))
        rule_id = entry.text("id")
        if rule_id in seen:
            raise entry.wrong("id", "is there twice")
        if rule_id in disabled:
            raise entry.wrong("id", "is disabled in the same file")
        seen.add(rule_id)


def _laid_over(base: Entry, own: Entry) -> Lined:
    """A rule of the pack with what the file says of it. What it matches stays: that would be another rule."""
    for field in ("match", "categories", "fact"):
        if field in own.raw:
            raise own.wrong(field, f"cannot be changed: disable {own.name}, and add a rule with an id of its own")
    may_have = {"id", "floor", *(CHANGEABLE & base.raw.keys())}
    own.check_fields(required={"id"}, optional=may_have)
    if len(own.raw) == 1:
        raise own.wrong("id", f"nothing of it is changed; what can be: {', '.join(sorted(may_have - {'id'}))}")
    return _without_no_floor(Entry(own.name, _lined({**base.raw, **own.raw}, like=own)))


def _without_no_floor(entry: Entry) -> Lined:
    """`floor: none` takes a floor away."""
    is_none = entry.raw.get("floor") == NO_FLOOR
    return _lined({name: value for name, value in entry.raw.items() if name != "floor" or not is_none}, like=entry)


def _lined(values: dict[str, object], *, like: Entry) -> Lined:
    """A mapping whose lines are those of an operator's entry, and of no other file."""
    lined = Lined(values)
    lined.line, lined.lines = (like.raw.line, like.raw.lines) if isinstance(like.raw, Lined) else (0, {})
    return lined
