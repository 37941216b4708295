"""Many rows changed at once, each to values of its own.

Django's bulk_update writes one CASE expression a column, whose cost grows with rows times columns: a thousand targets took
it most of a minute, with SQLite locked meanwhile. Here the database gets one short statement and a list of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import Model


def update_rows(model: type[Model], rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Give each row, by primary key, these columns; all rows name the same ones. Plain values only, no expressions.

    The caller holds the rows locked and knows that they are still there.
    """
    if not rows:
        return
    known = {field.attname: field for field in model._meta.concrete_fields}
    fields = [known[name] for name in next(iter(rows.values()))]
    quote = connection.ops.quote_name
    columns = ", ".join(f"{quote(str(field.column))} = %s" for field in fields)
    table, key_column = quote(model._meta.db_table), quote(str(known["id"].column))
    statement = f"UPDATE {table} SET {columns} WHERE {key_column} = %s"  # noqa: S608 - names of ours only
    values = [
        (*(field.get_db_prep_save(row[field.attname], connection) for field in fields), key) for key, row in rows.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)
        if cursor.rowcount != len(values):
            raise LookupError(f"{cursor.rowcount} of {len(values)} rows of {model._meta.db_table} were there to update")
