"""What a source is, and `consult()`, the one place that catches and records what becomes of a question.

    RemoteSource.lookup(addresses, outside) ─► Answers ─┐
    SourceError, HttpFailedError, … ───────────────┴─► consult() ─► Consultation: one SourceResult per address
    LocalSource.look_up(address) ──────────────────────► look_up() ─► SourceResult

A `RemoteSource` is asked over the network, within its limits; its answers are cached. A `LocalSource` reads what lies on
this machine: it is never waited for, and answers while offline, too.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from scans.core.budgets import Limit, Quota
from scans.core.dns import Dns
from scans.core.egress import Egress, EgressRefusedError, Gate
from scans.core.feeds import AnyFeed, FeedError, FeedMissingError, Store, unmapped
from scans.core.http import Http, HttpFailedError
from scans.core.options import IntelOptions
from scans.core.types import Facts, IPAddress, SourceResult, SourceState

log = logging.getLogger(__name__)

BAD_FILE = "its file cannot be read: `manage.py feeds status` says why"
SHORTEST_SECRET_CHARS = 8  # what is shorter may stand in a text by chance
PART_CHARS = 16  # of a key: texts of replies are cut, and so is a long key in them


class KeyUse(StrEnum):
    """Whether a source wants a key."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class SourceError(Exception):
    """A source has nothing to say about an address, or about all of them, and this is why.

    The text is shown to users: it names no key and no URL, and nothing that the service wrote.
    """

    def __init__(self, state: SourceState, reason: str, *, quota: Quota | None = None) -> None:
        super().__init__(reason)
        self.state = state
        self.quota = quota


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What one request brought."""

    facts: Mapping[IPAddress, Facts | SourceError]
    quota: Quota | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """What an operator set for one source."""

    key: str = field(default="", repr=False)
    base_url: str = ""
    directory: str = ""  # where list files and databases lie; empty: nowhere


class Source(ABC):
    """Something that knows about addresses. What a subclass declares is also what docs/sources.md says of it."""

    name: ClassVar[str]  # in results, settings and the cache: "ip-api"
    title: ClassVar[str]  # for people: "ip-api.com"
    gives: ClassVar[str]  # what it knows, in a few words
    terms: ClassVar[str]  # one line for the user: what its terms ask
    is_default: ClassVar[bool]  # on unless switched off; with a key that it asks for, it is on as soon as there is one
    key: ClassVar[KeyUse] = KeyUse.NONE
    feeds: ClassVar[tuple[AnyFeed, ...]] = ()  # files that it reads

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings

    @classmethod
    def is_available(cls, directory: str) -> bool:
        """Whether there is something to answer from; what is on by default is on only then."""
        return True


class Outside:
    """What a request of a service may use to get out; each request has its own, which knows whom it contacted."""

    def __init__(self, egress: Egress, options: IntelOptions) -> None:
        self.gate = Gate(egress)
        self.http = Http(self.gate, options)
        self.dns = Dns(self.gate, options)


class RemoteSource(Source):
    """A source that is asked over the network."""

    base_url: ClassVar[str] = ""  # its own; empty for one that only asks DNS
    tells: ClassVar[str] = "the address"  # what goes out, and how: "the address, over plain HTTP"
    batch_size: ClassVar[int] = 1  # addresses per request
    limits: tuple[Limit, ...]  # below what the service allows: its clock and ours differ
    max_requests: ClassVar[int] = 2  # at once, by one process
    lifetime_seconds: ClassVar[int]  # how long a found answer stays good
    empty_lifetime_seconds: ClassVar[int]  # and how long "knows nothing" does
    is_ipv4_only: ClassVar[bool] = False  # it is never asked about another
    is_answered_by_targets: ClassVar[bool] = False  # a failure may be their networks' own
    is_network_wide: ClassVar[bool] = False  # an answer holds for every address of its facts' network

    @property
    def url(self) -> str:
        """Where it is asked, without a slash at the end."""
        return self.settings.base_url or self.base_url

    @property
    def services(self) -> tuple[str, ...]:
        """URLs of all that it may contact over HTTP."""
        return (self.url,) if self.url else ()

    @abstractmethod
    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about at most `batch_size` addresses. Raises SourceError if the whole request failed."""


class LocalSource(Source):
    """A source on this machine: it reads the files of its feeds, and sends nothing."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self.store = Store(settings.directory)

    @classmethod
    def is_available(cls, directory: str) -> bool:
        """Whether there is a file of any of its feeds."""
        return any(Store(directory).path(feed) for feed in cls.feeds)

    @abstractmethod
    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """What it knows of an address, never an IPv4 one in IPv6 clothes, and of when that is.

        Raises SourceError, and FeedError when its file is not there or bad.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Consultation:
    """One request's outcome: a result for every address asked about."""

    source: str
    results: Mapping[IPAddress, SourceResult]
    quota: Quota | None = None
    is_down: bool = False  # the request failed as a whole


def consult(
    source: RemoteSource,
    addresses: Sequence[IPAddress],
    egress: Egress,
    options: IntelOptions,
    *,
    outside: Outside | None = None,
) -> Consultation:
    """Ask, and turn whatever happens into one result per address, with the time it took and who was told. Never raises.

    `outside` is for whoever wants to know who is being told before the end.
    """
    outside, began = outside or Outside(egress, options), time.monotonic()
    consultation = _consult(source, addresses, outside)
    elapsed_ms = round(1000 * (time.monotonic() - began))
    timed = {
        address: replace(result, elapsed_ms=elapsed_ms, contacted=outside.gate.contacted)
        if outside.gate.contacted
        else result
        for address, result in consultation.results.items()
    }
    return replace(consultation, results=timed)


def _consult(source: RemoteSource, addresses: Sequence[IPAddress], outside: Outside) -> Consultation:
    try:
        answers = source.lookup(addresses, outside)
    except SourceError as error:
        return unanswered(source.name, addresses, error.state, str(error), quota=error.quota)
    except EgressRefusedError as error:
        return unanswered(source.name, addresses, SourceState.SKIPPED, str(error))
    except HttpFailedError as error:
        return unanswered(source.name, addresses, SourceState.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - the edge: a source's reply is hostile, and one dead source never costs the scan
        log.warning("%s: unreadable reply (%s)", source.name, type(error).__name__)
        return unanswered(source.name, addresses, SourceState.FAILED, "the reply could not be read")
    said_at = datetime.now(UTC)
    results = {address: _result(source.name, answers.facts.get(address), said_at) for address in addresses}
    if _repeats(source.settings.key, repr(results)):  # it would be on every page
        return unanswered(source.name, addresses, SourceState.FAILED, "the reply repeats the key", quota=answers.quota)
    return Consultation(source=source.name, results=results, quota=answers.quota)


def _repeats(key: str, said: str) -> bool:
    """Whether the key stands there, or a part of it that is too long to be chance."""
    parts = {key[start : start + PART_CHARS] for start in range(max(1, len(key) - PART_CHARS + 1))}
    return len(key) >= SHORTEST_SECRET_CHARS and any(part in said for part in parts)


def look_up(source: LocalSource, address: IPAddress) -> SourceResult:
    """Ask a source on this machine. Never raises."""
    try:
        facts, said_at = source.look_up(unmapped(address))
    except SourceError as error:
        return SourceResult(source=source.name, state=error.state, reason=str(error))
    except FeedMissingError as error:
        return SourceResult(source=source.name, state=SourceState.SKIPPED, reason=str(error))
    except FeedError:  # its text holds a line of the file
        return SourceResult(source=source.name, state=SourceState.FAILED, reason=BAD_FILE)
    except Exception as error:  # noqa: BLE001 - the edge: a file that somebody else wrote never costs the scan
        log.warning("%s: unreadable file (%s)", source.name, type(error).__name__)
        return SourceResult(source=source.name, state=SourceState.FAILED, reason="its file could not be read")
    return _result(source.name, facts, said_at)


def unanswered(
    source: str, addresses: Sequence[IPAddress], state: SourceState, reason: str, *, quota: Quota | None = None
) -> Consultation:
    """The same non-answer for every address."""
    results = {address: SourceResult(source=source, state=state, reason=reason) for address in addresses}
    return Consultation(source=source, results=results, quota=quota, is_down=True)


def _result(source: str, answer: Facts | SourceError | None, said_at: datetime | None) -> SourceResult:
    if answer is None:
        return SourceResult(source=source, state=SourceState.FAILED, reason="the reply left this address out")
    if isinstance(answer, SourceError):
        return SourceResult(source=source, state=answer.state, reason=str(answer), observed_at=said_at)
    if answer == Facts():
        return SourceResult(source=source, state=SourceState.EMPTY, reason="nothing known", observed_at=said_at)
    return SourceResult(source=source, state=SourceState.OK, observed_at=said_at, facts=answer)
