"""The ledger: who was told about the targets of a job. `scans/services/egress.py` writes it, with the results."""

from __future__ import annotations

from django.db import models

from scans.models.jobs import ScanJob

MAX_CONTACT_CHARS = 255


class EgressEntry(models.Model):
    """One host that learned of targets of a job, on behalf of one source. Answers from the cache tell nobody."""

    job = models.ForeignKey(ScanJob, on_delete=models.CASCADE, related_name="egress", db_index=False)
    source = models.CharField(max_length=40)
    host = models.CharField(max_length=MAX_CONTACT_CHARS, help_text="With its port, or a resolver")
    n = models.BigIntegerField(help_text="How many addresses, names or targets it was told about, each as often as it was")
    first_at = models.DateTimeField(help_text="When the first result was stored that it took part in")
    last_at = models.DateTimeField()

    class Meta:
        verbose_name = "egress entry"
        verbose_name_plural = "egress entries"
        constraints = (models.UniqueConstraint(fields=("job", "source", "host"), name="egress_once"),)

    def __str__(self) -> str:
        return f"{self.source}: {self.host}"
