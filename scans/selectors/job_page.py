"""What a job's page lists: a page of its targets, filtered and sorted. `job_findings` says what they have in common.

filters, order, first row ─► row_slice: which rows, and in which state (cheap: it is asked for every two seconds)
                                 └─► rows_of: single values of these rows, and none of their JSON, however many ports
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, TextField, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Substr
from django.utils import timezone

from scans.core.ports import count_ports
from scans.models import OPEN_STATES, AuditEvent, ScanJob, TargetResult, TargetState
from scans.selectors.history import WORST_FIRST, worst_first
from scans.selectors.jobs import Progress

PAGE_ROWS = 100
MAX_STRIP_PORTS = 48  # above it a strip says nothing that the counts do not
MAX_PORTS_CHARS = 160  # of a list of open ports: a row shows the first few
WITHOUT_RESULT = (TargetState.ERROR, TargetState.REFUSED, TargetState.CANCELLED)
FIRST = "evidence__addresses__0"
FIRST_SOURCES = 5  # where an organisation and a country are looked for: those that are believed first know them


def _first_said(fact: str) -> Combinable:
    """From the first of the first sources that says it. The database reads on only where one did not."""
    return Coalesce(*(KT(f"{FIRST}__sources__{at}__facts__{fact}") for at in range(FIRST_SOURCES)))


PLAIN_COLUMNS = ("ordinal", "target", "state", "error_code", "ip_address", "risk_level", "open_ports")
COLUMNS: Mapping[str, Combinable] = {
    "worst_finding": KT("verdict__findings__0__title"),
    "answered": Cast(KT("verdict__completeness__ports_answered"), IntegerField()),
    "tested": Cast(KT("verdict__completeness__ports_tested"), IntegerField()),
    "error": KT("evidence__error__detail"),
    "second_address": KT("evidence__addresses__1__address"),
    "organisation": _first_said("organisation"),
    "isp": KT(f"{FIRST}__sources__0__facts__isp"),
    "country": _first_said("country"),
    "answers_everywhere": Case(When(**{f"{FIRST}__answers_everywhere": True}, then=Value(True)), default=Value(False)),
    "first_ports": Substr(KT(f"{FIRST}__port_states__open"), 1, MAX_PORTS_CHARS),
    "services": Cast(KT(f"{FIRST}__services"), TextField()),  # at most 64 kB of a row, some 3 as a rule
}
STRIP: Mapping[str, Combinable] = {"port_states": Cast(KT(f"{FIRST}__port_states"), TextField())}


class RowOrder(StrEnum):
    """How the targets are sorted."""

    WORST = "worst"
    SUBMITTED = "submitted"


class StateFilter(StrEnum):
    """Which targets are shown, by how far they have come."""

    DONE = "done"
    WITHOUT = "without"  # ended without a full result
    UNRESOLVED = "unresolved"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    OPEN = "open"  # not ended yet


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFilters:
    """What the list of targets is narrowed to; None and "" ask for no such thing."""

    level: str | None = None
    state: StateFilter | None = None
    port: int | None = None  # open at any of the target's addresses
    finding: str | None = None  # a rule that fired
    text: str = ""  # how the target begins

    @property
    def is_empty(self) -> bool:
        """Whether every target is shown."""
        return self == RowFilters()


@dataclass(frozen=True, kw_only=True, slots=True)
class RowKey:
    """A row of the page: where it is, and what of it can change while the job runs."""

    pk: int
    ordinal: int
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSlice:
    """A page of the list: rows `first` to `last` of `total`, counted from 1."""

    keys: tuple[RowKey, ...]
    first: int
    total: int

    @property
    def last(self) -> int:
        """Number of the last row; before the first if there is none."""
        return self.first + len(self.keys) - 1

    @property
    def previous(self) -> int | None:
        """First row of the page before."""
        return max(1, self.first - PAGE_ROWS) if self.first > 1 else None

    @property
    def next(self) -> int | None:
        """First row of the page behind."""
        return self.last + 1 if self.last < self.total else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedTarget:
    """A target as the list shows it. Of its JSON it brings single values of the first address, however many its ports."""

    ordinal: int
    target: str
    state: str
    error_code: str
    ip_address: str | None
    risk_level: str
    open_ports: int
    worst_finding: str | None
    answered: int | None
    tested: int | None
    error: str | None
    second_address: str | None
    organisation: str | None
    isp: str | None
    country: str | None
    answers_everywhere: bool
    first_ports: str | None
    services: str | None  # as JSON
    port_states: str | None = None  # as JSON, if there are few enough for a strip


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a running job gets on. What was refused at once took no time and says nothing about it."""

    elapsed_seconds: float
    per_second: float | None
    eta_seconds: int | None


def row_slice(job: ScanJob, filters: RowFilters, *, order: RowOrder, first: int) -> RowSlice:
    """A page of the targets that pass. A first row behind the end becomes that of the last page."""
    rows = _filtered(job, filters)
    total = job.total_targets if filters.is_empty else rows.count()
    first = min(first, total - (total - 1) % PAGE_ROWS) if total else 1
    keys = _ordered(rows, order).values_list("pk", "ordinal", "state")
    found = keys[first - 1 : first - 1 + PAGE_ROWS]
    return RowSlice(keys=tuple(RowKey(pk=pk, ordinal=n, state=s) for pk, n, s in found), first=first, total=total)


def rows_of(job: ScanJob, keys: Sequence[RowKey]) -> list[ListedTarget]:
    """The rows in this order, with what the list shows of them."""
    values = {**COLUMNS, **(STRIP if count_ports(job.ports) < MAX_STRIP_PORTS else {})}  # a URL's own port may come on top
    rows = TargetResult.objects.filter(pk__in=[key.pk for key in keys]).order_by()
    by_ordinal = {row["ordinal"]: ListedTarget(**row) for row in rows.values(*PLAIN_COLUMNS, **values)}
    return [by_ordinal[key.ordinal] for key in keys if key.ordinal in by_ordinal]


def level_counts(job: ScanJob) -> dict[str, int]:
    """How many targets have which level, worst first; a target without a verdict counts nowhere."""
    rated = job.targets.exclude(risk_level="").order_by()
    return worst_first(dict(rated.values_list("risk_level").annotate(n=Count("pk"))))


def pace(job: ScanJob, progress: Progress) -> Pace:
    """How fast the job gets on, and how long it may take yet."""
    elapsed = (timezone.now() - (job.started_at or job.created_at)).total_seconds()
    scanned = progress.finished - progress.refused
    if job.is_finished or not job.started_at or scanned <= 0 or elapsed <= 0:
        return Pace(elapsed_seconds=elapsed, per_second=None, eta_seconds=None)
    left = progress.total - progress.finished
    return Pace(elapsed_seconds=elapsed, per_second=scanned / elapsed, eta_seconds=round(elapsed * left / scanned))


def submit_event(job: ScanJob) -> AuditEvent | None:
    """How and from where the job was asked for; only for those who may see the audit trail."""
    return AuditEvent.objects.filter(job_token=job.token, action=AuditEvent.Action.SUBMIT).first()


def _filtered(job: ScanJob, filters: RowFilters) -> QuerySet[TargetResult]:
    rows = job.targets.all()
    if filters.level:
        rows = rows.filter(risk_level=filters.level)
    if filters.state:
        rows = rows.filter(_in_state(filters.state))
    if filters.text:
        rows = rows.filter(target__istartswith=filters.text)
    if filters.finding:
        # Both databases write JSON alike as text; a quote inside a value is escaped, so it cannot pretend to be a key.
        rows = rows.annotate(rules=Cast("verdict", TextField())).filter(rules__contains=f'"rule_id": "{filters.finding}"')
    if filters.port is not None:
        rows = rows.filter(pk__in=_with_open_port(rows, filters.port))
    return rows


def _in_state(state: StateFilter) -> Q:
    unresolved = Q(state=TargetState.ERROR, error_code="resolve_failed")
    return {
        StateFilter.DONE: Q(state=TargetState.DONE),
        StateFilter.WITHOUT: Q(state__in=WITHOUT_RESULT),
        StateFilter.UNRESOLVED: unresolved,
        StateFilter.FAILED: Q(state=TargetState.ERROR) & ~Q(error_code="resolve_failed"),
        StateFilter.REFUSED: Q(state=TargetState.REFUSED),
        StateFilter.CANCELLED: Q(state=TargetState.CANCELLED),
        StateFilter.OPEN: Q(state__in=OPEN_STATES),
    }[state]


def _with_open_port(rows: QuerySet[TargetResult], port: int) -> list[int]:
    """Rows with this port open. Ports are stored as ranges, which no query can look into.

    The evidence is read as text and searched for the lists: of 1,024 targets in 12 ms, where parsing it takes 120. A
    quote inside a value is escaped, so nothing that a target said looks like a list.
    """
    found = rows.filter(open_ports__gt=0).order_by().values_list("pk", Cast("evidence", TextField()))
    return [pk for pk, text in found.iterator(chunk_size=100) if any(holds_port(ports, port) for ports in _open_lists(text))]


def _open_lists(evidence: str) -> Iterator[str]:
    """Of each address. Split and not matched: of 32,768 ports a pattern would look at every digit."""
    return (rest[: rest.index('"')] for rest in evidence.split('"open": "')[1:])


def holds_port(compact: str, port: int) -> bool:
    """Whether "22,80-82" holds the port. The parts ascend, so a list of any length is searched by halves."""
    low, high = 0, len(compact)  # the part lies in between, if there is one
    while low < high:
        start = compact.rfind(",", low, (low + high) // 2) + 1 or low
        end = compact.find(",", start, high)
        end = high if end < 0 else end
        first, _, last = compact[start:end].partition("-")
        if port < int(first):
            high = start - 1
        elif port > int(last or first):
            low = end + 1
        else:
            return True
    return False


def _ordered(rows: QuerySet[TargetResult], order: RowOrder) -> QuerySet[TargetResult]:
    return rows.order_by("ordinal") if order == RowOrder.SUBMITTED else by_risk(rows)


def by_risk(rows: QuerySet[TargetResult]) -> QuerySet[TargetResult]:
    """Worst first; a target without a verdict comes last."""
    ranks = [When(risk_level=level, then=Value(rank)) for rank, level in enumerate(WORST_FIRST)]
    return rows.order_by(Case(*ranks, default=Value(len(ranks))), F("risk_score").desc(nulls_last=True), "ordinal")
