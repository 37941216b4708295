"""Fixtures of every test; installs the loopback guard first."""

from __future__ import annotations

from tests import guard

guard.install()
