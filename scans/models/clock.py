"""The one clock: the database's, because it is all that several hosts share.

A lease that ends by the clock of one host has ended already by that of another, or lasts for an hour. On SQLite all
processes are on one host and so share one clock anyway.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone


def now() -> datetime:
    """The time by the database's clock; on Postgres that is one short query."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def ago(span: timedelta) -> datetime | CombinedExpression:
    """The moment so long ago, for a filter: that needs no query of its own."""
    return Now() - span if connection.vendor == "postgresql" else timezone.now() - span
