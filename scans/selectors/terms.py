"""What was found, asked over the whole history: services, products, names of certificates, findings.

    service  the language, exactly: redis
    product  how product and version begin: nginx, nginx 1.2
    cert     a name of a certificate, exactly: www.example.org; and *.example.org, every name below example.org
    finding  a rule by its id, or how its title begins: EXP-008, database

Whoever asks for several asks for one target that has them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from scans.conf import known_rules
from scans.models import ResultTerm, ScanJob, TargetResult, TermKind, term_value

FEW_FOUND = 20_000  # as many the index hands out at once; of more, the newest jobs are asked one by one
FEW_TOGETHER = 2_000  # of these each is looked up again, for what else its target has
SHOWN_HOSTS = 3  # of a job in a list
_LAST_CHARACTER = "\U0010ffff"

Wanted = Mapping[str, str]  # text by kind


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundHost:
    """A target of a job that has what was asked for."""

    number: int
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundHosts:
    """The first few of a job."""

    shown: tuple[FoundHost, ...] = ()
    has_more: bool = False


def may_be_found(kind: str, text: str) -> bool:
    """Whether this asks for anything."""
    return bool(term_value(kind, text.strip().removeprefix("*.") if kind == TermKind.CERT else text))


def begins(column: str, text: str) -> Q:
    """How a column begins, in the words that the database answers from an index: SQLite has none for LIKE."""
    if connection.vendor == "sqlite":
        return Q(**{f"{column}__gte": text, f"{column}__lte": text + _LAST_CHARACTER})
    return Q(**{f"{column}__startswith": text})


def jobs_with(jobs: QuerySet[ScanJob], wanted: Wanted) -> tuple[QuerySet[ScanJob], Exists | None]:
    """The jobs with a target that has all of this, and what each of them is still to be asked, if the index cannot say.

    A query for each kind, to know how many have it.
    """
    parts = _parts(wanted)
    counts = [part[: FEW_FOUND + 1].count() for part in parts]
    rarest = counts.index(min(counts))
    terms = _together(parts[rarest], *(part for at, part in enumerate(parts) if at != rarest))
    few = FEW_FOUND if len(parts) == 1 else FEW_TOGETHER
    if counts[rarest] <= few:
        # Each job once: Postgres compares the newest jobs with every row of this, where it expects few.
        return jobs.filter(pk__in=terms.values("job").distinct()), None
    return jobs, Exists(terms.filter(job=OuterRef("pk")))


def results_with(results: QuerySet[TargetResult], job: ScanJob, wanted: Wanted) -> QuerySet[TargetResult]:
    """Those of a job's results that have all of this."""
    for kind, text in wanted.items():
        results = results.filter(pk__in=ResultTerm.objects.filter(_is(kind, text), job=job).values("result"))
    return results


def hosts_with(jobs: Iterable[int], wanted: Wanted) -> dict[int, FoundHosts]:
    """By job, the first targets that have all of this. Two queries, however many there are."""
    place = Window(RowNumber(), partition_by="job_id", order_by="result_id")
    ranked = _together(*_parts(wanted)).filter(job__in=list(jobs)).annotate(place=place)
    keys = list(ranked.filter(place__lte=SHOWN_HOSTS + 1).values_list("result", flat=True))
    found: dict[int, list[FoundHost]] = {}
    rows = TargetResult.objects.filter(pk__in=keys).order_by("pk").values_list("job_id", "ordinal", "target")
    for job_id, ordinal, target in rows:
        found.setdefault(job_id, []).append(FoundHost(number=ordinal + 1, target=target))
    return {
        job_id: FoundHosts(shown=tuple(hosts[:SHOWN_HOSTS]), has_more=len(hosts) > SHOWN_HOSTS)
        for job_id, hosts in found.items()
    }


def _parts(wanted: Wanted) -> list[QuerySet[ResultTerm]]:
    return [ResultTerm.objects.filter(_is(kind, text)) for kind, text in wanted.items()]


def _together(terms: QuerySet[ResultTerm], *others: QuerySet[ResultTerm]) -> QuerySet[ResultTerm]:
    """Those of results that have the others as well."""
    for other in others:
        terms = terms.filter(Exists(other.filter(job=OuterRef("job"), result=OuterRef("result"))))
    return terms


def _is(kind: str, text: str) -> Q:
    value = term_value(kind, text)
    if kind == TermKind.PRODUCT:
        said = begins("value", value)
    elif kind == TermKind.CERT and text.strip().startswith("*."):
        said = begins("value", term_value(kind, text.strip().removeprefix("*.")) + ".")
    elif kind == TermKind.FINDING:
        said = Q(
            value__in=[value, *(rule.id.lower() for rule in known_rules().values() if rule.title.lower().startswith(value))]
        )
    else:
        said = Q(value=value)
    return Q(kind=kind) & said
