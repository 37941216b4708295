"""A finished job names the version of the scanner that made it; jobs that ended before this name none."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scans", "0011_lease_rules")]
    operations = [
        migrations.AddField(
            model_name="scanjob",
            name="scanner_version",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Of the program that stored its last result; empty until then, and in jobs of versions that kept none",
                max_length=40,
            ),
        ),
    ]
