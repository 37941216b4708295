"""Counts by day, from which the dashboard is drawn: however many results there are, there are few of these.

    save of a result or a job's end ─► fresh rows ─fold, every few seconds─► one folded row a key
    read = folded + fresh, in one statement, so that a fold in between neither hides nor doubles anything

A saver only ever inserts. Many workers adding to one row would wait for each other on Postgres until the next commit.
`scans/services/aggregates.py` writes them and says what is counted.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

MAX_VALUE_CHARS = 60
NOBODY = 0  # jobs without an owner, as in the local profile
EVERYBODY = -1  # the sum over all owners, for staff: kept, because with many owners it would take long to add up


class CountKind(models.TextChoices):
    """What is counted; the meaning of `value` and of `milliseconds` depends on it."""

    JOB = "job"  # a job that ended; value: its outcome
    WAIT = "wait"  # the same; value: the step of WAIT_STEPS that its first claim fell into; milliseconds: the waiting
    TARGET = "target"  # a target that has its result; value: its state
    LEVEL = "level"  # a target that was looked at; value: its risk level
    PORT = "port"  # a target with this port open at any address
    COUNTRY = "country"  # a target that was looked at; value: ISO code, or empty where no source said
    SOURCE = "source"  # what became of the question to a source about one address; value: source:state
    TIMED = "timed"  # the same, where a request was sent just then; value: source; milliseconds: of these requests
    RESTART = "restart"  # a program that its supervisor had to start again; value: program:reason; of no owner


class RestartReason(models.TextChoices):
    """Why a supervisor had to start a program again."""

    DIED = "died"  # it ended by itself
    KILLED = "killed"  # by a signal: of somebody, or for want of memory
    STALLED = "stalled"  # it did none of the work that waited, and was killed for it


class DailyCount(models.Model):
    """How often something was so on one day (UTC), among the jobs of one owner or of all."""

    day = models.DateField()
    owner = models.BigIntegerField(help_text="A user's id, 0 for nobody, -1 for the sum; counts outlive their users")
    kind = models.CharField(max_length=10, choices=CountKind)
    value = models.CharField(max_length=MAX_VALUE_CHARS, blank=True)
    n = models.BigIntegerField()
    milliseconds = models.BigIntegerField(default=0)
    is_folded = models.BooleanField(default=False)

    class Meta:
        verbose_name = "daily count"
        constraints = (
            models.UniqueConstraint(  # what a fold adds to; and the dashboard reads a range of it
                fields=("owner", "kind", "day", "value"), condition=Q(is_folded=True), name="count_folded_once"
            ),
            models.CheckConstraint(condition=Q(kind__in=CountKind.values), name="count_kind_known"),
        )
        indexes = (models.Index(fields=("id",), condition=Q(is_folded=False), name="count_fresh"),)  # what a fold takes

    def __str__(self) -> str:
        return f"{self.day} {self.kind} {self.value}: {self.n}"
