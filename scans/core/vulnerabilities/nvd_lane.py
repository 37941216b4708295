"""The questions to the NVD of one scan: what products and CVEs to ask about, within its limits, and what came of it.

    ask() ─► known already (this process keeps answers for a day)
        └─► waiting ─► budget ─► thread ─► receive() ─► known

As in the intelligence lane everything but the requests happens in the caller's thread, and a product that many hosts show
is asked about once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scans.core.egress import OFFLINE, Egress, EgressRefusedError
from scans.core.http import HttpFailedError
from scans.core.intel.base import Outside, SourceError
from scans.core.tools import Tools
from scans.core.types import Facts, SourceResult, SourceState
from scans.core.vulnerabilities.cve import read_cve
from scans.core.vulnerabilities.nvd import Nvd, Scores

log = logging.getLogger(__name__)

MAX_KEPT = 10_000  # answers that a process remembers
_kept: dict[str, Answer] = {}  # by subject; of this process
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of one question: the scores, or in `missing` why there are none."""

    subject: str
    scores: Scores
    asked_at: float  # seconds since 1970
    missing: SourceResult | None = None


class NvdLane:
    """Questions and answers of one scan."""

    def __init__(self, nvd: Nvd, tools: Tools, egress: Egress, emit: Callable[[Answer], None]) -> None:
        self.name = nvd.name
        self._nvd = nvd
        self._tools = tools
        self._egress = egress
        self._emit = emit
        self._answers: dict[str, Answer] = {}
        self._own: dict[str, Outside] = {}  # subjects that this scan sent a question about, and who was told by it
        self._waiting: dict[str, None] = {}
        self._blocked: tuple[float, SourceResult] | None = None  # until when (monotonic), and why
        self._requests = 0

    def ask(self, subjects: Iterable[str]) -> None:
        """Ask about CPE names and CVE ids, the first ones first."""
        for subject in subjects:
            kept = _recent(subject, self._nvd.lifetime_seconds)
            if self._tools.options.intel.offline:
                self._answers[subject] = _unanswered(subject, SourceState.SKIPPED, OFFLINE)
            elif kept is not None:
                self._answers.setdefault(subject, kept)
            elif subject not in self._answers and subject not in self._own:
                self._waiting[subject] = None

    def turn(self, *, now: float) -> None:
        """Send what may be sent."""
        while self._waiting and self._requests < self._nvd.max_requests and not self._is_blocked(until=now):
            if refusal := self._tools.budget.draw(self._nvd.name, self._nvd.limits):
                result = SourceResult(source=self._nvd.name, state=refusal.state, reason=refusal.reason)
                self._blocked = (now + refusal.seconds, result)
                return
            subject = next(iter(self._waiting))
            del self._waiting[subject]
            outside = self._own[subject] = Outside(self._egress, self._tools.options.intel)
            self._requests += 1
            threading.Thread(target=self._request, args=(subject, outside), name="intel-nvd", daemon=True).start()

    def receive(self, answer: Answer) -> None:
        """Take in an answer, and note how the service is doing."""
        self._requests -= 1
        self._answers[answer.subject] = answer
        result = answer.missing or SourceResult(source=self._nvd.name, state=SourceState.OK)
        self._tools.budget.observe(self._nvd.name, self._nvd.limits, [result], None)
        if answer.missing is None:
            _keep(answer)

    def has_all(self, subjects: Sequence[str], *, until: float) -> bool:
        """Whether all that can be known of these by then (monotonic) is known."""
        return all(
            subject in self._answers or (subject in self._waiting and self._is_blocked(until=until)) for subject in subjects
        )

    def scores(self, subjects: Iterable[str]) -> dict[str, Scores]:
        """What it said, by subject; one that it did not answer for is not there."""
        answers = (self._answers[subject] for subject in subjects if subject in self._answers)
        return {answer.subject: answer.scores for answer in answers if answer.missing is None}

    def result(self, subjects: Sequence[str]) -> SourceResult:
        """What came of all questions for one address; if one was not answered, why."""
        name = self._nvd.name
        if not subjects:
            return SourceResult(source=name, state=SourceState.NOT_APPLICABLE, reason="no product or CVE to ask about")
        answers = [self._answer(subject) for subject in subjects]
        contacted = self.told(subjects)
        if missing := [answer.missing for answer in answers if answer.missing]:
            reason = f"{len(missing)} of {len(answers)} questions were not answered: {missing[0].reason}"
            return SourceResult(source=name, state=missing[0].state, reason=reason, contacted=contacted)
        named = {cve for answer in answers if read_cve(answer.subject) is None for cve in answer.scores}
        is_known = any(answer.scores for answer in answers)
        return SourceResult(
            source=name,
            state=SourceState.OK if is_known else SourceState.EMPTY,
            reason="" if is_known else "nothing known",
            observed_at=datetime.fromtimestamp(min(answer.asked_at for answer in answers), UTC),
            is_cached=all(answer.subject not in self._own for answer in answers),
            facts=Facts(seen_cves=tuple(sorted(named)) or None),
            contacted=contacted,
        )

    def told(self, subjects: Iterable[str]) -> tuple[str, ...]:
        """Who was asked about these by this scan, whether or not an answer came."""
        asked = (self._own[subject] for subject in subjects if subject in self._own)
        return tuple(dict.fromkeys(host for outside in asked for host in outside.gate.contacted))

    # ---

    def _answer(self, subject: str) -> Answer:
        if subject in self._answers:
            return self._answers[subject]
        if self._blocked and subject in self._waiting:
            return _unanswered(subject, self._blocked[1].state, self._blocked[1].reason)
        return _unanswered(subject, SourceState.FAILED, "no answer in time")

    def _is_blocked(self, *, until: float) -> bool:
        return self._blocked is not None and self._blocked[0] > until

    def _request(self, subject: str, outside: Outside) -> None:
        self._emit(_asked(self._nvd, subject, outside))


def _asked(nvd: Nvd, subject: str, outside: Outside) -> Answer:
    """Ask, and turn whatever happens into an answer. Never raises."""
    state, reason, scores = SourceState.FAILED, "", {}
    try:
        scores = dict(nvd.ask(subject, outside))
    except SourceError as error:
        state, reason = error.state, str(error)
    except EgressRefusedError as error:
        state, reason = SourceState.SKIPPED, str(error)
    except HttpFailedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - the edge: a reply is hostile, and never costs the scan
        log.warning("%s: unreadable reply (%s)", nvd.name, type(error).__name__)
        reason = "the reply could not be read"
    missing = SourceResult(source=nvd.name, state=state, reason=reason) if reason else None
    return Answer(subject=subject, scores=scores, asked_at=time.time(), missing=missing)


def _unanswered(subject: str, state: SourceState, reason: str) -> Answer:
    missing = SourceResult(source=Nvd.name, state=state, reason=reason)
    return Answer(subject=subject, scores={}, asked_at=time.time(), missing=missing)


def _recent(subject: str, lifetime_seconds: float) -> Answer | None:
    with _lock:
        kept = _kept.get(subject)
    return kept if kept and 0 <= time.time() - kept.asked_at < lifetime_seconds else None


def _keep(answer: Answer) -> None:
    with _lock:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        _kept[answer.subject] = answer
