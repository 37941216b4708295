"""Stored evidence as values again, for whoever rates it once more: the way back from `evidence_dict` in wire.py.

Read is all that rules look at, as it was written, by any schema so far: what a row does not have was not said. Of ports
that are not open, which may be 65,535, only the first that was refused is read unless all are asked for: it tells that
something answered. What a row says more is left out; a word or a schema that is not known makes the evidence unreadable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from ipaddress import ip_address
from typing import Any, TypeVar

from scans.core.ports import expand
from scans.core.types import (
    AddressReport,
    Cookie,
    EndOfLife,
    Facts,
    HttpFacts,
    PortState,
    Probe,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    TlsFacts,
    Vulnerability,
)
from scans.core.wire import SCHEMA

Json = Mapping[str, Any]
Value = TypeVar("Value", Vulnerability, EndOfLife)
NO_STATES = {"open": "", "closed": ""}  # of a row that only lists its probes


class UnreadableEvidenceError(ValueError):
    """The stored evidence is not in a form that is known here; the text says what is missing or wrong."""


def stored_addresses(evidence: Json, *, in_full: bool = False) -> tuple[AddressReport, ...]:
    """What was seen at each address, as far as rules look at it. Completeness can be made of it only `in_full`.

    Raises UnreadableEvidenceError.
    """
    try:
        if (schema := evidence.get("schema", 1)) not in range(1, SCHEMA + 1):
            raise ValueError(f"schema {schema!r} is none of 1 to {SCHEMA}")
        return tuple(_address(stored, in_full=in_full) for stored in evidence["addresses"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableEvidenceError(f"{type(error).__name__}: {error}") from error


def _address(stored: Json, *, in_full: bool) -> AddressReport:
    read_probes = _all_probes if in_full else _probes
    return AddressReport(
        address=ip_address(stored["address"]),
        is_global=stored.get("is_global", False),
        answers_everywhere=stored.get("answers_everywhere"),
        probes=tuple(read_probes(stored.get("port_states", NO_STATES), stored.get("probes", ()))),
        sources=tuple(_source(source) for source in stored.get("sources", ())),
        services=tuple(_service(service) for service in stored.get("services", ())),
        vulnerabilities=_each_known(Vulnerability, stored.get("vulnerabilities"), "due"),
        end_of_life=_each_known(EndOfLife, stored.get("end_of_life"), "since"),
    )


def _each_known(kind: type[Value], stored: Sequence[Json] | None, day: str) -> tuple[Value, ...] | None:
    """What is known against products; None of a row that says nothing of that. `day` is the field that holds one."""
    if stored is None:
        return None
    make: Callable[..., Value] = kind
    known = [_known(kind, each) for each in stored]
    return tuple(make(**said | ({day: date.fromisoformat(said[day])} if day in said else {})) for said in known)


def _probes(port_states: Mapping[str, str], probes: Sequence[Sequence[Any]]) -> Iterator[Probe]:
    """Above 1,000 ports the row only counts some of them; of these attempts and latency are not known."""
    listed = {port: Probe(port, PortState(state), reason, tries, ms) for port, state, reason, tries, ms in probes}
    found = [(port, PortState.OPEN) for port in expand(port_states["open"])]
    refused = next(iter(expand(port_states["closed"])), None)
    if refused is not None:
        found.append((refused, PortState.CLOSED))
    yield from (listed.get(port) or Probe(port, state, "", 0, None) for port, state in found)


def _all_probes(port_states: Mapping[str, str], probes: Sequence[Sequence[Any]]) -> Iterator[Probe]:
    """Ascending, with the state alone: the one thing of a port that is not open that the completeness is made of."""
    found = [(port, PortState(state)) for state, ports in port_states.items() for port in expand(ports)]
    listed = [] if port_states is not NO_STATES else [(port, PortState(state)) for port, state, *_ in probes]
    yield from (Probe(port, state, "", 0, None) for port, state in sorted(found or listed))


def _source(stored: Json) -> SourceResult:
    said_at = stored.get("observed_at")
    return SourceResult(
        source=stored["source"],
        state=SourceState(stored["state"]),
        reason=stored.get("reason", ""),
        observed_at=datetime.fromisoformat(said_at) if said_at else None,
        is_cached=stored.get("is_cached", False),
        elapsed_ms=stored.get("elapsed_ms"),
        contacted=tuple(stored.get("contacted", ())),
        facts=stored_facts(stored.get("facts", {})),
    )


def stored_facts(stored: Json) -> Facts:
    """Facts that were stored; those that nobody knows any more are left out."""
    return Facts(**_known(Facts, stored))


def _service(stored: Json) -> Service:
    said = _known(Service, stored)
    said["state"] = ServiceState(said["state"])
    if "http" in said:
        said["http"] = _http(said["http"])
    if "tls" in said:
        said["tls"] = _tls(said["tls"])
    return Service(**said)


def _http(stored: Json) -> HttpFacts:
    said = _known(HttpFacts, stored)
    said["security_headers"] = tuple((name, value) for name, value in stored.get("security_headers", ()))
    said["cookies"] = tuple(Cookie(**_known(Cookie, cookie)) for cookie in stored.get("cookies", ()))
    return HttpFacts(**said)


def _tls(stored: Json) -> TlsFacts:
    said = _known(TlsFacts, stored)
    for name in ("not_before", "not_after"):
        if name in said:
            said[name] = datetime.fromisoformat(said[name])
    return TlsFacts(**said)


def _known(kind: type[Any], stored: Json) -> dict[str, Any]:
    """The fields of a value that the row has, its lists as tuples."""
    found = {field.name: stored[field.name] for field in fields(kind) if field.name in stored}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
