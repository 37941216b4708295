"""Which sources are on, by what an operator set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scans.core.feeds import AnyFeed
from scans.core.intel.base import KeyUse, Source, SourceSettings
from scans.core.options import IntelOptions, OptionError

DEFAULT = "default"


def switched_on(options: IntelOptions, kinds: Sequence[type[Source]]) -> list[Source]:
    """The sources that are on, in the order of `kinds`, with their settings.

    INTEL_SOURCES names them. "default" stands for those on by default and those that a key was given for, but not for a
    source whose files are not there (named itself, such a one is on, and says so); "-name" takes one out again, of those
    on by default if nothing else is named. Raises OptionError for one that lacks its key.
    """
    known = {kind.name for kind in kinds}
    chosen = {kind.name for kind in kinds if _has_default(options) and _is_on_by_default(kind, options)}
    chosen |= {name for name in options.sources if name in known}
    chosen -= {name.removeprefix("-") for name in options.sources if name.startswith("-")}
    return [_made(kind, options) for kind in kinds if kind.name in chosen]


def _has_default(options: IntelOptions) -> bool:
    """Where sources are only taken out, it is of those on by default."""
    return DEFAULT in options.sources or (bool(options.sources) and all(name.startswith("-") for name in options.sources))


def _is_on_by_default(kind: type[Source], options: IntelOptions) -> bool:
    if not kind.is_available(options.directory):
        return False
    return kind.is_default or (kind.key is not KeyUse.NONE and bool(options.keys.get(kind.name)))


def _made(kind: type[Source], options: IntelOptions) -> Source:
    key = options.keys.get(kind.name, "")
    if kind.key is KeyUse.REQUIRED and not key:
        raise OptionError(f"INTEL_SOURCES: {kind.name} needs a key: set {setting(kind.name, 'KEY')}.")
    return kind(SourceSettings(key=key, base_url=options.urls.get(kind.name, ""), directory=options.directory))


def check_choice(options: IntelOptions, kinds: Sequence[type[Source]], lists: Iterable[AnyFeed] = ()) -> None:
    """Raises OptionError for what is set for a source that there is not, and for one that is on without the key it needs.

    `lists` are feeds of no source; the address of each can be set, too.
    """
    known = sorted(kind.name for kind in kinds)
    for name in options.sources:
        if name != DEFAULT and name.removeprefix("-") not in known:
            raise OptionError(f"INTEL_SOURCES: {name!r} is no source. There are: {', '.join(known)}.")
    switched_on(options, kinds)
    feeds = {feed.name for kind in kinds for feed in kind.feeds} | {feed.name for feed in lists}
    for what, named, others in (("KEY", options.keys, set()), ("URL", options.urls, feeds)):
        for name in named:
            if name not in known and name not in others:
                there_are = ", ".join(sorted({*known, *others}))
                raise OptionError(f"{setting(name, what)}: {name!r} is no source. There are: {there_are}.")


def setting(name: str, what: str) -> str:
    """The variable that sets something for a source: its KEY or its URL."""
    return f"INTEL_{name.upper().replace('-', '_')}_{what}"


def why(kind: type[Source], options: IntelOptions, *, is_on: bool) -> str:
    """Why a source is on or off, with the setting that changes it."""
    if is_on:
        return _why_on(kind, options)
    if f"-{kind.name}" in options.sources:
        return f"INTEL_SOURCES takes it out (-{kind.name})"
    if kind.key is KeyUse.REQUIRED and not options.keys.get(kind.name):
        return f"it needs a key: set {setting(kind.name, 'KEY')}"
    if not kind.is_available(options.directory):
        return "there is no file of it here: manage.py feeds status names them"
    if not _has_default(options):
        return f"INTEL_SOURCES does not name it: {','.join(options.sources)}"
    chosen = options.sources if DEFAULT in options.sources else (DEFAULT, *options.sources)
    return f"off by default: INTEL_SOURCES={','.join((*chosen, kind.name))} switches it on"


def _why_on(kind: type[Source], options: IntelOptions) -> str:
    if kind.name in options.sources:
        return "INTEL_SOURCES names it"
    return "on by default" if kind.is_default else f"{setting(kind.name, 'KEY')} is set"
