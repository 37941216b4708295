"""A lease and its end come and go together, in states that a worker may hold; a job's wish for words is a known one.

On SQLite a new constraint means a copy of its table: one constraint for all columns of a lease, so one copy of the results.
"""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q

FREE = {"lease": None, "lease_until": None}


def repair(apps, schema_editor):
    """Rows that no rule allowed: whoever is not held properly is free, and waits for a worker if it was in work."""
    targets = apps.get_model("scans", "TargetResult").objects
    in_work, held = Q(state="leased"), Q(state__in=("leased", "scanned"), lease__isnull=False, lease_until__isnull=False)
    is_half_held = Q(lease__isnull=True) | Q(lease_until__isnull=True)
    targets.filter(in_work & is_half_held).update(state="pending", **FREE)
    targets.filter(Q(lease__isnull=False) | Q(lease_until__isnull=False)).exclude(held).update(**FREE)
    apps.get_model("scans", "ScanJob").objects.exclude(ai__in=("asked", "default", "off")).update(ai="default")


class Migration(migrations.Migration):
    dependencies = [("scans", "0010_egress")]
    operations = [
        migrations.RunPython(repair, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name="scanjob",
            constraint=models.CheckConstraint(condition=Q(ai__in=["asked", "default", "off"]), name="job_ai_known"),
        ),
        migrations.AddConstraint(
            model_name="targetresult",
            constraint=models.CheckConstraint(
                condition=Q(state__in=("leased", "scanned"), lease__isnull=False, lease_until__isnull=False)
                | (~Q(state="leased") & Q(lease__isnull=True, lease_until__isnull=True)),
                name="target_lease_fits_state",
            ),
        ),
    ]
