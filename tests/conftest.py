"""Fixtures of every test; installs the loopback guard first."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

from tests import guard

guard.install()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The audit trail without its triggers, since tests empty all tables. test_audit.py puts them back."""
    triggers = import_module("scans.migrations.0002_append_only_audit")
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for statement in triggers.REMOVE[connection.vendor]:
            cursor.execute(statement)


@pytest.fixture
def server_profile(settings):
    """The server profile, without limits: who asks has to say who they are, and sees their own."""
    settings.IS_LOCAL = False
    login_required = "scans.web.login.LoginRequired"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:-1], login_required, settings.MIDDLEWARE[-1]]
    return settings
