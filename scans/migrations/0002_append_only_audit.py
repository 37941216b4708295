"""Triggers that keep the audit trail append-only, whoever asks: neither the shell nor the admin changes what has happened."""

from __future__ import annotations

from django.db import migrations

REFUSAL = "audit events are never changed or deleted"
INSTALL = {
    "sqlite": [
        f"CREATE TRIGGER scans_auditevent_no_{what.lower()} BEFORE {what} ON scans_auditevent "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        for what in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION scans_auditevent_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
        "CREATE TRIGGER scans_auditevent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON scans_auditevent "
        "FOR EACH STATEMENT EXECUTE FUNCTION scans_auditevent_refuse()",
    ],
}
REMOVE = {
    "sqlite": ["DROP TRIGGER scans_auditevent_no_update", "DROP TRIGGER scans_auditevent_no_delete"],
    "postgresql": [
        "DROP TRIGGER scans_auditevent_append_only ON scans_auditevent",
        "DROP FUNCTION scans_auditevent_refuse()",
    ],
}


def install(apps, schema_editor):
    """Also used by the tests, which empty all tables between each other and so live without the triggers."""
    for statement in INSTALL[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def remove(apps, schema_editor):
    for statement in REMOVE[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("scans", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
