"""A job that scans the targets of another again names that job; of reruns before this only the audit trail knows."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scans", "0012_scanner_version")]
    operations = [
        migrations.AddField(
            model_name="scanjob",
            name="rerun_of",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Token of the job whose targets it scans again; that job may be gone",
                max_length=32,
            ),
        ),
    ]
