"""Rescoring: history is rated by other rules from its stored evidence, beside the verdicts that it has.

In batches by primary key, each one transaction: a run that is killed at any moment loses nothing, and the next one goes on
with the results that have no verdict by these rules yet. The original verdicts, levels and counts stay as they are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from scans.core import wire
from scans.core.risk import Pack, gather, rate
from scans.core.stored import UnreadableEvidenceError, stored_addresses
from scans.models import Rescore, RescoredVerdict, ScanJob, TargetResult, TargetState, clock
from scans.services.audit import Action, Origin, record

BATCH_ROWS = 50  # a result with a thousand ports is some 100 kB
FORGET_ROWS = 1000
PAUSE_SECONDS = 0.02  # between batches: SQLite's busy handler is unfair, and other writers would hardly get a turn
MAX_NAMED = 10
Move = tuple[str, str]  # from one level to another


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which results: of one job or of all, those that were scanned since a moment or all."""

    token: str | None = None
    since: datetime | None = None


@dataclass(kw_only=True, slots=True)
class Rescored:
    """What came of some results."""

    results: int = 0  # that got a verdict
    moves: Counter[Move] = field(default_factory=Counter)  # of those whose level is another
    other_score: int = 0  # of those whose level is the same
    unreadable: int = 0
    named: list[str] = field(default_factory=list)  # the first of these, and why

    def __iadd__(self, other: Rescored) -> Rescored:
        self.results += other.results
        self.moves.update(other.moves)
        self.other_score += other.other_score
        self.unreadable += other.unreadable
        self.named = [*self.named, *other.named][:MAX_NAMED]
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    pk: int
    job_id: int
    level: str
    score: int | None
    place: str
    evidence: wire.Json


def rescore(
    pack: Pack, rules: str, selection: Selection, *, origin: Origin, is_dry: bool = False
) -> Generator[Rescored, None, None]:
    """Rate what has no verdict by these rules yet; yields what came of each batch, after its commit.

    `rules` is the operator's text, kept beside the verdicts. A dry run writes nothing. Results that were rated by these
    very rules when they were scanned are left out: their own verdict is the one.
    """
    run = Rescore.objects.filter(ruleset=pack.version).first() if is_dry else _begin(pack, rules)
    total = Rescored()
    last = 0
    try:
        while rows := _next_rows(pack, run, selection, after=last):
            last = rows[-1].pk
            done = _rescore_rows(pack, rows, run=None if is_dry else run)
            total += done
            yield done
            time.sleep(PAUSE_SECONDS)
        if run and not is_dry:
            Rescore.objects.filter(pk=run.pk).update(finished_at=clock.now())
    finally:
        if not is_dry:
            counts = {name: value for name, value in asdict(total).items() if isinstance(value, int)}
            since = selection.since.isoformat() if selection.since else None
            record(Action.RESCORE, **origin, job_token=selection.token or "", ruleset=pack.version, since=since, **counts)


def rescored_before(pack: Pack) -> int:
    """How many verdicts by these rules there are already."""
    return RescoredVerdict.objects.filter(rescore__ruleset=pack.version).count()


def forget(ruleset: str, *, origin: Origin) -> Generator[int, None, None]:
    """Delete the verdicts by these rules; yields how many each batch took. Raises Rescore.DoesNotExist."""
    run = Rescore.objects.get(ruleset=ruleset)
    total = 0
    while chosen := list(run.verdicts.order_by("pk").values_list("pk", flat=True)[:FORGET_ROWS]):
        with transaction.atomic():
            rows = RescoredVerdict.objects.filter(pk__in=chosen)
            jobs = set(rows.values_list("result__job_id", flat=True))
            taken, _ = rows.delete()
            _touch(jobs)
        total += taken
        yield taken
        time.sleep(PAUSE_SECONDS)
    run.delete()
    record(Action.RESCORE, **origin, ruleset=ruleset, forgotten=total)


def _begin(pack: Pack, rules: str) -> Rescore:
    """The run of these rules, new or again."""
    run, _ = Rescore.objects.get_or_create(ruleset=pack.version, defaults={"rules": rules, "started_at": clock.now()})
    return run


def _next_rows(pack: Pack, run: Rescore | None, selection: Selection, *, after: int) -> list[_Row]:
    rows: QuerySet[TargetResult] = TargetResult.objects.filter(state=TargetState.DONE, pk__gt=after).order_by("pk")
    if selection.token:
        rows = rows.filter(job__token=selection.token)
    if selection.since:
        rows = rows.filter(finished_at__gte=selection.since)
    rows = rows.exclude(verdict__ruleset=pack.version)
    if run:
        rows = rows.exclude(Exists(RescoredVerdict.objects.filter(result=OuterRef("pk"), rescore=run)))
    columns = ("pk", "job_id", "job__token", "ordinal", "risk_level", "risk_score", "evidence")
    return [
        _Row(pk=pk, job_id=job_id, level=level, score=score, place=f"{token}, target {ordinal + 1}", evidence=evidence)
        for pk, job_id, token, ordinal, level, score, evidence in rows.values_list(*columns)[:BATCH_ROWS]
    ]


def _rescore_rows(pack: Pack, rows: list[_Row], *, run: Rescore | None) -> Rescored:
    """Rate them, which takes its time, and then store it, for which others wait. Without a run nothing is stored."""
    done = Rescored()
    verdicts: dict[int, wire.Json] = {}
    for row in rows:
        try:
            verdict = wire.verdict_dict(rate(gather(stored_addresses(row.evidence, in_full=True)), pack))
        except UnreadableEvidenceError as error:
            done += Rescored(unreadable=1, named=[f"{row.place}: {error}"])
            continue
        verdicts[row.pk] = verdict
        done += _came_of(row, verdict)
    if run and verdicts:
        _store(run, verdicts)
    return done


def _came_of(row: _Row, verdict: wire.Json) -> Rescored:
    level, score = verdict["level"], verdict["score"]
    moves = Counter({(row.level, level): 1} if level != row.level else {})
    return Rescored(results=1, moves=moves, other_score=int(level == row.level and score != row.score))


def _store(run: Rescore, verdicts: dict[int, wire.Json]) -> None:
    """One transaction. A result deleted meanwhile gets none; one that another run was quicker with keeps its own."""
    now = clock.now()
    with transaction.atomic():
        held = TargetResult.objects.filter(pk__in=verdicts).order_by("pk").select_for_update()
        jobs = dict(held.values_list("pk", "job_id"))
        made = [
            RescoredVerdict(
                rescore=run, result_id=pk, risk_level=verdict["level"], risk_score=verdict["score"], verdict=verdict,
                rescored_at=now,
            )
            for pk, verdict in verdicts.items()
            if pk in jobs
        ]  # fmt: skip
        RescoredVerdict.objects.bulk_create(made, ignore_conflicts=True)
        _touch(set(jobs.values()))


def _touch(jobs: set[int]) -> None:
    """Readers see another document, so its version is another. In an order that all keep: no two wait for each other."""
    for job_id in sorted(jobs):
        ScanJob.objects.filter(pk=job_id).update(version=F("version") + 1)
