"""Jobs and their targets. Every target is a row from the moment of the reply.

    Job:     queued ─first claim─► running ─no open target─► complete
                └───────────── cancel ─┴────────────────────► cancelled
    Target:  refused (scope)
             pending ─claim─► leased ─fenced write─► done | error
                ▲               │  └─ verdict stored, summary asked for ─► scanned ─► done
                └─ lease ended ─┘  eight attempts ─► error
             pending | leased ─cancel─► cancelled

A row's three parts never overwrite each other: `evidence` (immutable once final), `verdict`, `summary`.
`scans/core/wire.py` gives their shapes. Columns exist only for what is filtered or sorted. What is drawn above about states
and leases the database itself keeps, by the constraints below.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from scans.core.types import Level

MAX_HOST_CHARS = 255
MAX_TARGET_CHARS = 2048


class Mode(models.TextChoices):
    """Which endpoint the job came through."""

    STANDARD = "standard"
    AI = "ai"


class AiChoice(models.TextChoices):
    """Whether the client asked for the model's words: said so, said nothing, or said no."""

    ASKED = "asked"
    DEFAULT = "default"
    OFF = "off"


class JobState(models.TextChoices):
    """The life of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    CANCELLED = "cancelled"


class JobOutcome(models.TextChoices):
    """How a finished job ended. Partial: at least one target has no full result."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    CANCELLED = "cancelled"


class TargetState(models.TextChoices):
    """The life of a target. `scanned`: the verdict is stored, the summary is still awaited."""

    PENDING = "pending"
    LEASED = "leased"
    SCANNED = "scanned"
    DONE = "done"
    ERROR = "error"
    REFUSED = "refused"
    CANCELLED = "cancelled"


OPEN_STATES = (TargetState.PENDING, TargetState.LEASED, TargetState.SCANNED)
HELD_STATES = (TargetState.LEASED, TargetState.SCANNED)  # in which a worker may hold a lease
OPEN_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)
FINISHED_JOB_STATES = (JobState.COMPLETE, JobState.CANCELLED)
MAX_LABEL_CHARS = 100
MAX_TAG_CHARS = 40
MAX_VERSION_CHARS = 40


def new_token() -> str:
    """32 hex characters, 128 bits: unguessable, and the form that clients know."""
    return secrets.token_hex(16)


class ScanJob(models.Model):
    """One submission."""

    token = models.CharField(max_length=32, unique=True, default=new_token, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="scan_jobs",
        help_text="Whose work it is; nobody's in the local profile",
    )  # fmt: skip
    label = models.CharField(max_length=MAX_LABEL_CHARS, blank=True)
    mode = models.CharField(max_length=10, choices=Mode)
    ai = models.CharField(max_length=10, choices=AiChoice, default=AiChoice.DEFAULT)
    state = models.CharField(max_length=10, choices=JobState, default=JobState.QUEUED)
    outcome = models.CharField(max_length=10, choices=JobOutcome, blank=True)
    total_targets = models.PositiveIntegerField()
    ports = models.TextField(help_text="The ports probed on every target, compact: 22,80-90")
    submitted = models.JSONField(help_text="The input as typed, without secrets")
    rejected = models.JSONField(default=list, help_text="Items that on_invalid=skip left out, each with its reason")
    warnings = models.JSONField(default=list)
    version = models.PositiveIntegerField(default=1, help_text="Raised by every write a reader could see")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    rerun_of = models.CharField(
        max_length=32, blank=True, default="", db_default="", editable=False,
        help_text="Token of the job whose targets it scans again; that job may be gone",
    )  # fmt: skip
    model_calls = models.PositiveIntegerField(default=0, db_default=0, editable=False, help_text="Made for it so far")
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="The last claim: whoever waited longest is next")
    finished_at = models.DateTimeField(null=True, blank=True)
    scanner_version = models.CharField(
        max_length=MAX_VERSION_CHARS, blank=True, default="", db_default="", editable=False,
        help_text="Of the program that stored its last result; empty until then, and in jobs of versions that kept none",
    )  # fmt: skip

    class Meta:
        verbose_name = "scan job"
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=("-created_at", "-id"), name="job_newest"),  # history and recent jobs
            models.Index(fields=("state", "created_at"), name="job_state"),  # the reaper, counts in the admin
            models.Index(fields=("owner", "-created_at", "-id"), name="job_owner_newest"),  # GET /scans
        )
        constraints = (
            models.CheckConstraint(condition=Q(state__in=JobState.values), name="job_state_known"),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="job_mode_known"),
            models.CheckConstraint(condition=Q(ai__in=AiChoice.values), name="job_ai_known"),
            models.CheckConstraint(
                condition=Q(state__in=FINISHED_JOB_STATES, finished_at__isnull=False, outcome__in=JobOutcome.values)
                | (~Q(state__in=FINISHED_JOB_STATES) & Q(finished_at__isnull=True, outcome="")),
                name="job_finished_once",
            ),
        )

    def __str__(self) -> str:
        return self.token

    def get_absolute_url(self) -> str:
        """The job's page."""
        return reverse("job", args=[self.token])

    @property
    def is_finished(self) -> bool:
        """No target is open any more."""
        return self.state in FINISHED_JOB_STATES


class JobTag(models.Model):
    """One word by which jobs are found again; a table, because SQLite cannot search JSON lists."""

    job = models.ForeignKey(ScanJob, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=MAX_TAG_CHARS)

    class Meta:
        verbose_name = "job tag"
        indexes = (models.Index(fields=("name", "job"), name="tag_jobs"),)  # GET /scans?tag=
        constraints = (models.UniqueConstraint(fields=("job", "name"), name="tag_once"),)

    def __str__(self) -> str:
        return self.name


class DeletedJob(models.Model):
    """What is left of a deleted job: its token, so that its owner is told 410 and not 404."""

    token = models.CharField(max_length=32, unique=True, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    deleted_at = models.DateTimeField()

    class Meta:
        verbose_name = "deleted job"

    def __str__(self) -> str:
        return self.token


class TargetResult(models.Model):
    """One target of a job: what is to do, and then what came of it."""

    job = models.ForeignKey(ScanJob, on_delete=models.CASCADE, related_name="targets")
    ordinal = models.PositiveIntegerField(help_text="Its place in the submission, from 0")
    key = models.CharField(max_length=64, editable=False, help_text="Digest of the folded target: once per job")
    spec = models.JSONField(help_text="The normalised target, from which a worker starts")
    target = models.CharField(max_length=MAX_TARGET_CHARS)
    host = models.CharField(max_length=MAX_HOST_CHARS)

    state = models.CharField(max_length=10, choices=TargetState, default=TargetState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    partial = models.JSONField(null=True, blank=True, help_text="Probes of a target that takes more than one slice")

    evidence = models.JSONField(null=True, blank=True)
    verdict = models.JSONField(null=True, blank=True)
    summary = models.JSONField(null=True, blank=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    risk_level = models.CharField(max_length=10, blank=True)
    risk_score = models.PositiveSmallIntegerField(null=True, blank=True)
    open_ports = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=40, blank=True)
    scanned_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "target result"
        ordering = ("job", "ordinal")
        indexes = (
            models.Index(fields=("state", "lease_until"), name="target_claim"),  # claims and the reaper
            models.Index(fields=("job", "state", "lease_until"), name="target_job_state"),  # progress, finalising
            models.Index(fields=("risk_level", "-finished_at"), name="target_risk"),  # admin filter
            models.Index(  # search in the admin by how a name begins; the classes are Postgres', for LIKE
                fields=("host", "job"), name="target_host", opclasses=("varchar_pattern_ops", "int8_ops")
            ),
            models.Index(  # jobs by how a target of theirs begins, job by job: where many do, 26 ms, not 540
                fields=("job", "host"), name="target_job_host", opclasses=("int8_ops", "varchar_pattern_ops")
            ),
            models.Index(fields=("job", "risk_level"), name="target_job_risk"),  # level counts of the form and of GET /scans
        )
        constraints = (
            models.UniqueConstraint(fields=("job", "ordinal"), name="target_ordinal_once"),
            models.UniqueConstraint(fields=("job", "key"), name="target_key_once"),
            models.CheckConstraint(condition=Q(state__in=TargetState.values), name="target_state_known"),
            models.CheckConstraint(
                condition=Q(risk_level__in=["", *(level.value for level in Level)]), name="target_level_known"
            ),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_STATES, finished_at__isnull=True)
                | (~Q(state__in=OPEN_STATES) & Q(finished_at__isnull=False, evidence__isnull=False)),
                name="target_final_has_evidence",
            ),
            models.CheckConstraint(  # leased: held; scanned: held by a summary worker, or free; whatever else: free
                condition=Q(state__in=HELD_STATES, lease__isnull=False, lease_until__isnull=False)
                | (~Q(state=TargetState.LEASED) & Q(lease__isnull=True, lease_until__isnull=True)),
                name="target_lease_fits_state",
            ),
        )

    def __str__(self) -> str:
        return self.target

    def get_absolute_url(self) -> str:
        """The host's page."""
        return reverse("host", args=[self.job.token, self.ordinal + 1])

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """Evidence, verdict and summary, from which the wire result is built."""
        return self.evidence, self.verdict, self.summary


class TargetAddress(models.Model):
    """One address of a target, so that history can be searched by address."""

    result = models.ForeignKey(TargetResult, on_delete=models.CASCADE, related_name="addresses")
    address = models.GenericIPAddressField()
    is_global = models.BooleanField()
    observed_at = models.DateTimeField()

    class Meta:
        verbose_name = "target address"
        verbose_name_plural = "target addresses"
        indexes = (models.Index(fields=("address", "-observed_at"), name="address_history"),)  # earlier scans of a host
        constraints = (models.UniqueConstraint(fields=("result", "address"), name="address_once"),)

    def __str__(self) -> str:
        return self.address
