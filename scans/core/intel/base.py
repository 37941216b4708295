"""What a source is, and `consult()`, the one place that catches and records what becomes of a question.

Source.lookup(addresses) ─► Answers ─┐
SourceError, HttpFailedError, … ─────┴─► consult() ─► Consultation: one SourceResult per address
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar

from scans.core.egress import EgressRefusedError
from scans.core.http import Http, HttpFailedError
from scans.core.options import IntelOptions
from scans.core.types import Facts, IPAddress, SourceResult, SourceState

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What a source said is left of its quota."""

    remaining: int
    resets_in_seconds: float


class SourceError(Exception):
    """A source has nothing to say about an address, or about all of them, and this is why."""

    def __init__(self, state: SourceState, reason: str, *, quota: Quota | None = None) -> None:
        super().__init__(reason)
        self.state = state
        self.quota = quota


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What one request brought."""

    facts: Mapping[IPAddress, Facts | SourceError]
    quota: Quota | None = None


class Source(ABC):
    """An intelligence service that is asked about addresses."""

    name: ClassVar[str]
    terms: ClassVar[str]  # one line for the user: what the service's terms ask
    batch_size: ClassVar[int]  # addresses per request
    requests_per_minute: ClassVar[float]
    lifetime_seconds: ClassVar[int]  # how long a found answer stays good
    empty_lifetime_seconds: ClassVar[int]  # and how long "knows nothing" does

    def __init__(self, options: IntelOptions) -> None:
        self.options = options

    @abstractmethod
    def lookup(self, addresses: Sequence[IPAddress], http: Http) -> Answers:
        """Ask about at most `batch_size` addresses. Raises SourceError if the whole request failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Consultation:
    """One request's outcome: a result for every address asked about."""

    source: str
    results: Mapping[IPAddress, SourceResult]
    quota: Quota | None = None


def consult(source: Source, addresses: Sequence[IPAddress], http: Http) -> Consultation:
    """Ask, and turn whatever happens into one result per address, with the time it took. Never raises."""
    began = time.monotonic()
    consultation = _consult(source, addresses, http)
    elapsed_ms = round(1000 * (time.monotonic() - began))
    timed = {
        address: result if result.state is SourceState.SKIPPED else replace(result, elapsed_ms=elapsed_ms)
        for address, result in consultation.results.items()
    }
    return replace(consultation, results=timed)


def _consult(source: Source, addresses: Sequence[IPAddress], http: Http) -> Consultation:
    try:
        answers = source.lookup(addresses, http)
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
    return Consultation(source=source.name, results=results, quota=answers.quota)


def unanswered(
    source: str, addresses: Sequence[IPAddress], state: SourceState, reason: str, *, quota: Quota | None = None
) -> Consultation:
    """The same non-answer for every address."""
    results = {address: SourceResult(source=source, state=state, reason=reason) for address in addresses}
    return Consultation(source=source, results=results, quota=quota)


def _result(source: str, answer: Facts | SourceError | None, said_at: datetime) -> SourceResult:
    if answer is None:
        return SourceResult(source=source, state=SourceState.FAILED, reason="the reply left this address out")
    if isinstance(answer, SourceError):
        return SourceResult(source=source, state=answer.state, reason=str(answer), observed_at=said_at)
    if answer == Facts():
        return SourceResult(source=source, state=SourceState.EMPTY, reason="nothing known", observed_at=said_at)
    return SourceResult(source=source, state=SourceState.OK, observed_at=said_at, facts=answer)
