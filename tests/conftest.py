"""Fixtures of every test; installs the loopback guard first."""

from __future__ import annotations

import os
from importlib import import_module

import hypothesis
import pytest
from django.db import connection

from tests import guard

guard.install()
# No example has to be quick: machines are busy. Whoever works on the code looks for new examples with every run; what
# decides about a change asks the same of each.
unhurried = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("searching", **unhurried)
hypothesis.settings.register_profile("repeatable", **unhurried, derandomize=True)
hypothesis.settings.load_profile("repeatable" if os.environ.get("REQUIRE_ALL") == "1" else "searching")


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
