"""Accepting a risk and taking that back. Each is one row and one audit event in one transaction; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from django.db import transaction
from django.utils import timezone

from scans.conf import known_rules
from scans.core.targets import TargetError, parse_target
from scans.core.text import clean_text
from scans.core.types import TargetKind
from scans.models import MAX_OWNER_CHARS, MAX_REASON_CHARS, MAX_SCOPE_CHARS, Waiver
from scans.selectors.waivers import MAX_IN_FORCE, in_force
from scans.services import audit
from scans.services.audit import Action, Origin

MAX_DAYS = 366  # a risk is accepted for a year at most, and then looked at again
LEAST_PREFIX = 8  # a wider network than a /8 is no place that somebody answers for
NAMES_PORTS = frozenset({"ports", "ports_total"})  # the matchers whose findings say which ports they are about


class WaiverRefusedError(ValueError):
    """The waiver cannot be taken in; `problems` has a sentence for each field that is wrong, "" for the whole."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__(" ".join(problems.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class WaiverRequest:
    """A waiver as somebody asks for it. It holds to the end of its last day, UTC."""

    rule_id: str
    scope: str
    port: int | None
    owner: str
    reason: str
    last_day: date


def add_waiver(request: WaiverRequest, *, origin: Origin) -> Waiver:
    """Accept a risk. Raises WaiverRefusedError with all that is wrong."""
    problems = dict(_problems(request))
    scope = ""
    try:
        scope = read_scope(request.scope)
    except ValueError as error:
        problems["scope"] = str(error)
    if problems:
        raise WaiverRefusedError(problems)
    now = timezone.now()
    with transaction.atomic():
        _refuse_another(request, scope, now)
        waiver = Waiver.objects.create(
            rule_id=request.rule_id,
            scope=scope,
            port=request.port,
            owner=clean_text(request.owner, limit=MAX_OWNER_CHARS),
            reason=clean_text(request.reason, limit=MAX_REASON_CHARS),
            entered_by=_name(origin),
            created_at=now,
            expires_at=datetime.combine(request.last_day, time.max, tzinfo=UTC),
        )
        audit.record(Action.WAIVER_ADDED, **origin, **_detail(waiver))
    return waiver


@transaction.atomic
def withdraw_waiver(waiver: Waiver, *, origin: Origin) -> bool:
    """End a waiver at once. False if it held no longer."""
    now = timezone.now()
    if not in_force(now).filter(pk=waiver.pk).update(withdrawn_at=now, withdrawn_by=_name(origin)):
        return False
    audit.record(Action.WAIVER_WITHDRAWN, **origin, **_detail(waiver))
    return True


def read_scope(text: str) -> str:
    """An address, a network or a host name, in the one form that is compared. Raises ValueError with the repair."""
    item = text.strip()
    if "/" in item and "://" not in item:
        return _network(item)
    try:
        target = parse_target(item)
    except TargetError as error:
        raise ValueError(str(error)) from error
    if target.kind is TargetKind.URL:
        raise ValueError(f"{target.host} is enough: a waiver is for a host, not for a page of it.")
    if len(target.host) > MAX_SCOPE_CHARS:
        raise ValueError(f"The name is longer than {MAX_SCOPE_CHARS} characters.")
    return target.host


def _network(item: str) -> str:
    shown = clean_text(item, limit=80)
    try:
        network = ip_network(item, strict=False)
        inside = ip_address(item.partition("/")[0])
    except ValueError as error:
        raise ValueError(f"{shown} is not a network: write it like 192.0.2.0/24.") from error
    if inside != network.network_address:
        raise ValueError(f"{shown} names an address inside a network: write {network}, or {inside} for the one address.")
    if network.prefixlen < LEAST_PREFIX:
        raise ValueError(f"{network} is wider than a /{LEAST_PREFIX}: nobody can answer for so much at once.")
    return str(network if network.num_addresses > 1 else inside)


def _problems(request: WaiverRequest) -> Iterator[tuple[str, str]]:
    rule = known_rules().get(request.rule_id)
    if rule is None:
        yield "rule_id", f"There is no rule {clean_text(request.rule_id, limit=20) or 'without a name'}."
    if request.port is not None and not 1 <= request.port <= 65535:
        yield "port", f"{request.port} is not a port: they go from 1 to 65535."
    elif request.port is not None and rule is not None and rule.match not in NAMES_PORTS:
        yield "port", f"Leave it empty: {rule.id} names no ports, so it is accepted for the host as a whole."
    if not clean_text(request.owner, limit=MAX_OWNER_CHARS):
        yield "owner", "Name who answers for it, a person or a team."
    elif len(request.owner) > MAX_OWNER_CHARS:
        yield "owner", f"At most {MAX_OWNER_CHARS} characters."
    if not clean_text(request.reason, limit=MAX_REASON_CHARS):
        yield "reason", "Say why it is accepted."
    elif len(request.reason) > MAX_REASON_CHARS:
        yield "reason", f"At most {MAX_REASON_CHARS} characters."
    today = timezone.now().date()
    if request.last_day < today:
        yield "last_day", "This day is over."
    elif request.last_day > today + timedelta(days=MAX_DAYS):
        yield "last_day", f"At most {MAX_DAYS} days ahead, until {today + timedelta(days=MAX_DAYS)}: then look at it again."


def _refuse_another(request: WaiverRequest, scope: str, now: datetime) -> None:
    """Not twice the same, for then it would not be clear which of them ends it; and not without bounds."""
    holding = in_force(now)
    same = holding.filter(rule_id=request.rule_id, scope=scope, port=request.port).first()
    if same is not None:
        raise WaiverRefusedError(
            {"": f"It is accepted already, until {same.expires_at:%Y-%m-%d} by {same.owner}. Withdraw that waiver first."}
        )
    if holding.count() >= MAX_IN_FORCE:
        raise WaiverRefusedError({"": f"{MAX_IN_FORCE:,} waivers are in force already: withdraw one, or name a network."})


def _name(origin: Origin) -> str:
    actor = origin["actor"]
    return actor.get_username() if actor is not None and actor.pk is not None else ""


def _detail(waiver: Waiver) -> dict[str, Any]:
    return {
        "waiver": waiver.pk,
        "rule": waiver.rule_id,
        "scope": waiver.scope,
        "port": waiver.port,
        "owner": waiver.owner,
        "reason": waiver.reason,
        "expires": waiver.expires_at.isoformat(timespec="seconds"),
    }
