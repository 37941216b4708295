"""Terms: by which words a result is found again. `scans/services/terms.py` writes them, `scans/selectors/terms.py` asks.

A row repeats what the evidence and the verdict say; they can be made again from these (`manage.py reindex`). Values are in
small letters. A certificate's name stands with its labels turned round, so that all names below a domain begin alike:
www.example.org is org.example.www.
"""

from __future__ import annotations

from functools import lru_cache

from django.db import models
from django.db.models import Q

from scans.core.text import clean_text
from scans.models.jobs import ScanJob, TargetResult

MAX_TERM_CHARS = 255  # a row of an index on Postgres holds 2,700 bytes
_MAX_READ_CHARS = 2048  # the longest text that evidence holds


class TermKind(models.TextChoices):
    """What a term is of; the words are those that people search by."""

    SERVICE = "service"  # the language that a port speaks
    PRODUCT = "product"  # product and version, as the service said
    CERT = "cert"  # a name that a certificate is for
    FINDING = "finding"  # the rule that fired


@lru_cache(1024)
def term_value(kind: str, text: str) -> str:
    """How this text is stored and looked for. Most texts come again and again, so the last ones are remembered."""
    value = clean_text(clean_text(text, limit=_MAX_READ_CHARS).lower(), limit=_MAX_READ_CHARS)
    if kind == TermKind.CERT:
        value = ".".join(reversed(value.rstrip(".").split(".")))
    return value[:MAX_TERM_CHARS]


class ResultTerm(models.Model):
    """One word by which a result is found. Written once, with the report, and never changed."""

    result = models.ForeignKey(TargetResult, on_delete=models.CASCADE, related_name="terms")
    job = models.ForeignKey(  # the result's: lists are of jobs. It goes with the result, which alone is asked for
        ScanJob, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    kind = models.CharField(max_length=10, choices=TermKind)
    value = models.CharField(max_length=MAX_TERM_CHARS)

    class Meta:
        verbose_name = "result term"
        indexes = (
            models.Index(  # jobs and results by a term, where few have it; the classes are Postgres', for LIKE
                fields=("kind", "value", "job", "result"),
                name="term_found",
                opclasses=("varchar_ops", "varchar_pattern_ops", "int8_ops", "int8_ops"),
            ),
        )
        constraints = (
            models.UniqueConstraint(  # job by job, where many have it
                fields=("job", "kind", "value", "result"),
                name="term_once",
                opclasses=("int8_ops", "varchar_ops", "varchar_pattern_ops", "int8_ops"),
            ),
            models.CheckConstraint(condition=Q(kind__in=TermKind.values), name="term_kind_known"),
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"
