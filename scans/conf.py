"""Turns Django's settings into the core's frozen options; nobody else does."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from scans.core.options import Options
from scans.core.risk import Pack, Rule, default_pack, pack_of


def scanner_options() -> Options:
    """The options of this process."""
    options: Options = settings.SCANNER
    return options


def risk_pack() -> Pack:
    """The rules that new results are rated by."""
    return pack_of(scanner_options().risk.rules_file)


def known_rules() -> Mapping[str, Rule]:
    """By their ids all rules that results may name: those in force, and the built-in ones that an operator switched off."""
    return {rule.id: rule for pack in (default_pack(), risk_pack()) for rule in pack.rules}


def max_targets() -> int:
    """Targets that one job may hold after expansion."""
    limit: int = settings.SCAN_MAX_TARGETS
    return limit


def max_probes() -> int:
    """Targets times ports that one job may come to."""
    limit: int = settings.SCAN_MAX_PROBES
    return limit


def max_body_bytes() -> int:
    """Bytes that a request's body may hold."""
    limit: int = settings.SCAN_MAX_BODY_BYTES
    return limit
