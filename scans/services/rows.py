"""Many rows made or changed at once, each with values of its own: one short statement, and a list of values.

Django's bulk_update writes one CASE expression a column, whose cost grows with rows times columns: a thousand targets took
it most of a minute, with SQLite locked meanwhile. Its bulk_create names columns that stay empty in every row, and prepares
every value of every column anew.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import CharField, Field, ForeignKey, IntegerField, JSONField, Model

STATEMENT_ROWS = 500  # a thousand rows one by one take SQLite three times as long as in twelve statements, of 90 at most


class Insert:
    """Rows to make: prepared at leisure, then written while others wait.

    All rows name the same columns; one that neither they nor `write` name gets its default.
    """

    def __init__(self, model: type[Model], rows: Sequence[Mapping[str, Any]]) -> None:
        fields = {field.attname: field for field in model._meta.concrete_fields if not field.primary_key}
        self._model = model
        self._named = [fields[name] for name in (rows[0] if rows else ())]
        self._others = [field for field in fields.values() if field not in self._named]
        ready = [_prepared(field, [row[field.attname] for row in rows]) for field in self._named]
        self._values = list(zip(*ready, strict=True))

    def write(self, **same: Any) -> None:
        """Make the rows; `same` are columns that have one value in all of them. The primary keys are not told."""
        if not self._values:
            return
        others = {field: _prepared(field, [same.get(field.attname, field.get_default())])[0] for field in self._others}
        others = {field: value for field, value in others.items() if value is not None}  # a column not named is NULL
        fields, shared = [*self._named, *others], tuple(others.values())
        quote = connection.ops.quote_name
        columns = ", ".join(quote(str(field.column)) for field in fields)
        statement = f"INSERT INTO {quote(self._model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 - names of ours only
        place = f"({', '.join(['%s'] * len(fields))})"
        size = min(STATEMENT_ROWS, connection.ops.bulk_batch_size(fields, self._values))
        with connection.cursor() as cursor:
            for start in range(0, len(self._values), size):
                rows = self._values[start : start + size]
                cursor.execute(statement + ", ".join([place] * len(rows)), [value for row in rows for value in row + shared])


def _prepared(field: Field[Any, Any], values: list[Any]) -> list[Any]:
    """The values of one column as the database takes them: mostly they are that already, and asking Django takes longer."""
    plain = str if isinstance(field, CharField) else int if isinstance(field, ForeignKey | IntegerField) else None
    if all(type(value) is plain for value in values):
        return values
    if isinstance(field, JSONField):
        adapted = connection.ops.adapt_json_value
        return [None if value is None else adapted(value, field.encoder) for value in values]
    return [field.get_db_prep_save(value, connection) for value in values]


class Update:
    """A change of rows, each to columns of its own: prepared at leisure, then written while the rows are locked.

    All rows name the same columns; plain values only, no expressions.
    """

    def __init__(self, model: type[Model], rows: Mapping[int, Mapping[str, Any]]) -> None:
        known = {field.attname: field for field in model._meta.concrete_fields}
        fields = [known[name] for name in next(iter(rows.values()), {})]
        quote = connection.ops.quote_name
        columns = ", ".join(f"{quote(str(field.column))} = %s" for field in fields)
        self._table = model._meta.db_table
        self._statement = f"UPDATE {quote(self._table)} SET {columns} WHERE {quote(str(known['id'].column))} = %s"  # noqa: S608 - names of ours only
        self._values = {
            key: [*(field.get_db_prep_save(row[field.attname], connection) for field in fields), key]
            for key, row in rows.items()
        }

    def write(self, keys: Container[int]) -> None:
        """Change those of the rows that have these keys. The caller holds them locked and knows that they are there."""
        values = [row for key, row in self._values.items() if key in keys]
        if not values:
            return
        with connection.cursor() as cursor:
            cursor.executemany(self._statement, values)
            if cursor.rowcount != len(values):
                raise LookupError(f"{cursor.rowcount} of {len(values)} rows of {self._table} were there to update")


def update_rows(model: type[Model], rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Prepare and write in one step."""
    Update(model, rows).write(rows)
