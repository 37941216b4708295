"""One turn of asking the model: some claimed rows become words, with as few calls as possible.

    rows ─► may not be asked ───────────────────────────► the reason
         ─► asked before, the answer was kept ──────────► its words
         ─► the same question as another's of this turn ► the other's words
         ─► a few of one job together ─ budget ─ written down ─► one call ─► checked one by one ─► words or reason
                                           └─► the reason              └─ nothing usable ─► handed back, each goes alone

Only the calls themselves run in other threads; the database is this one's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.db import IntegrityError, transaction

from scans.conf import scanner_options
from scans.core import wire
from scans.core.summary import (
    MAX_TOGETHER,
    MAX_TOGETHER_CHARS,
    AskAloneError,
    Explained,
    GeminiClient,
    Question,
    recalled,
    unasked,
)
from scans.core.types import ASKED_MODEL, Summary, SummaryState, Told
from scans.models import TargetResult, clock
from scans.services import claims, model_calls
from scans.services.egress import record_told
from scans.services.model_answers import keep_answer, kept_words, write_questions
from scans.services.results import Claimed, save_summary

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Waiting:
    """A row with its question, and the rows whose question is the very same."""

    row: TargetResult
    question: Question
    twins: list[Waiting] = field(default_factory=list)

    @property
    def goes_alone(self) -> bool:
        """It was in a call before that came to nothing, or its worker died of it."""
        return self.row.attempts > 0


Call = list[Waiting]


class Turn:
    """Explains rows that are held by one lease."""

    def __init__(self, lease: UUID, client: GeminiClient, threads: ThreadPoolExecutor) -> None:
        self._lease = lease
        self._client = client
        self._threads = threads
        self._options = scanner_options().ai

    def explain(self, rows: Iterable[TargetResult]) -> int:
        """Give these rows their words, or hand back what there is no room for. Returns how many were finished."""
        finished, questions = 0, {}
        for row in rows:
            evidence, verdict, summary = row.parts
            asked = self._client.question(evidence, verdict, wire.summary_from_dict(summary))
            if isinstance(asked, Question):
                questions[row.pk] = Waiting(row=row, question=asked)
            else:
                finished += self._end(row, asked)
        finished += self._recall(questions)
        calls = list(grouped(_without_twins(questions.values())))
        self._hand_back(calls[claims.SUMMARY_CALLS :], is_counted=False)
        return finished + self._ask(calls[: claims.SUMMARY_CALLS])

    def _recall(self, questions: dict[int, Waiting]) -> int:
        """End those whose answer was kept, and take them out."""
        kept = kept_words({pk: one.question for pk, one in questions.items()}, self._options.model)
        ended = [(questions.pop(pk), words) for pk, words in kept.items()]
        return sum(self._end_unsent(one, words) for one, words in ended)

    def _ask(self, calls: Iterable[Call]) -> int:
        finished = 0
        running: dict[Future[list[Explained]], Call] = {}
        for call in calls:
            if refused := model_calls.draw(call[0].row.job_id, self._options):
                finished += self._refuse(call, refused)
            elif self._write_down(call):
                running[self._threads.submit(self._client.ask, [one.question for one in call])] = call
            else:  # their job is gone; twins of other jobs are not
                self._hand_back([call], is_counted=False)
        for done in as_completed(running):
            finished += self._take(done, running[done])
        return finished

    def _refuse(self, call: Call, reason: str) -> int:
        """The end for these and their twins of the same job; those of other jobs draw from a budget of their own."""
        job_id = call[0].row.job_id
        everybody = [each for one in call for each in (one, *one.twins)]
        others = [each.row.pk for each in everybody if each.row.job_id != job_id]
        claims.hand_back_summaries(self._lease, others, is_counted=False)
        refused = [each for each in everybody if each.row.job_id == job_id]
        return sum(
            self._end(one.row, unasked(one.question.deterministic, SummaryState.RATE_LIMITED, reason)) for one in refused
        )

    def _write_down(self, call: Call) -> bool:
        """Before anything leaves: a worker that is killed in between has told of more than was sent, never of less."""
        told = [(one.row.job_id, [Told(ASKED_MODEL, self._client.host, 1)]) for one in call]
        questions = ((one.row.pk, one.question) for one in call)
        try:
            with transaction.atomic():
                if is_there := write_questions(questions, model=self._options.model, was_sent=True):
                    record_told(told, at=clock.now())
        except IntegrityError:  # foreign keys are looked at when the transaction ends: the job was deleted
            return False
        return is_there

    def _take(self, done: Future[list[Explained]], call: Call) -> int:
        try:
            explained = done.result()
        except AskAloneError as error:
            log.info("A call about %s targets came to nothing (%s): each goes alone", len(call), error)
            self._hand_back([call], is_counted=True)
            return 0
        return sum(self._finish(one, found) for one, found in zip(call, explained, strict=True))

    def _finish(self, one: Waiting, explained: Explained) -> int:
        keep_answer(one.question, explained, self._options.model)
        finished = self._end(one.row, explained.summary)
        return finished + sum(self._end_unsent(twin, _words_of_twin(twin, explained)) for twin in one.twins)

    def _end_unsent(self, one: Waiting, words: Summary) -> int:
        """The page shows what the words are about, also where nothing was sent for this row."""
        finished = self._end(one.row, words)
        if finished:
            write_questions([(one.row.pk, one.question)], model=self._options.model, was_sent=False)
        return finished

    def _end(self, row: TargetResult, words: Summary) -> int:
        return int(save_summary(Claimed(pk=row.pk, job_id=row.job_id, lease=self._lease), words))

    def _hand_back(self, calls: Sequence[Call], *, is_counted: bool) -> None:
        rows = [each.row.pk for call in calls for one in call for each in (one, *one.twins)]
        claims.hand_back_summaries(self._lease, rows, is_counted=is_counted)


def grouped(waiting: Iterable[Waiting]) -> Iterator[Call]:
    """Calls about a few targets of one job whose facts are small, in the order of their first."""
    open_calls: dict[int, Call] = {}
    for one in waiting:
        call = open_calls.get(one.row.job_id)
        if call is not None and not one.goes_alone and _fits(one, call):
            call.append(one)
            continue
        if one.goes_alone:
            yield [one]
            continue
        if call is not None:
            yield call
        open_calls[one.row.job_id] = [one]
    yield from open_calls.values()


def _fits(one: Waiting, call: Call) -> bool:
    chars = sum(len(each.question.facts.text) for each in (one, *call))
    return len(call) < MAX_TOGETHER and chars <= MAX_TOGETHER_CHARS


def _without_twins(waiting: Iterable[Waiting]) -> list[Waiting]:
    """One of each question; the others stand behind it."""
    firsts: dict[str, Waiting] = {}
    for one in waiting:
        first = firsts.setdefault(one.question.facts.text, one)
        if first is not one:
            first.twins.append(one)
    return list(firsts.values())


def _words_of_twin(twin: Waiting, explained: Explained) -> Summary:
    """What came of the same question, over the twin's own deterministic words."""
    said = explained.summary
    if explained.answer:
        words = recalled(twin.question, explained.answer, model=said.model or "", finish_reason=said.finish_reason)
        if words:
            return words
    own = replace(twin.question.deterministic, model=said.model, finish_reason=said.finish_reason, usage={"cached": 1})
    return unasked(own, said.state, said.reason)
