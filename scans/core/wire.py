"""Reports as plain JSON values, in storage and on the wire: the one place that knows both.

    Report ─► evidence_dict ─┐
    Verdict ► verdict_dict ──┼─► wire_result ─► one entry of results[]
    Summary ► summary_dict ──┘

The three dicts are stored, never overwrite each other, and are all that `wire_result` needs:

    evidence  {schema, target {text, kind, host, port, scheme, path, notes}, outcome, error {code, detail} | None,
               started_at, finished_at,
               addresses [{address, is_global, answers_everywhere, port_states {state: "22,80-82"}, probes [[port,
               state, reason, attempts, latency_ms]], sources [{source, state, reason, observed_at, is_cached,
               elapsed_ms, contacted, facts {only what is known}}], services [{port, state, and of `Service` in types.py
               what was said; http and tls alike}], and where somebody could say: vulnerabilities [{of `Vulnerability` what
               is known}], end_of_life [{of `EndOfLife` what is known}]}]}
    verdict   {schema, level, score, ruleset, findings [{rule_id, title, points, ports, evidence, remediation,
               reference, floor}], completeness {ports_answered, ports_tested, sources_answered, sources_asked, doubts}}
    summary   {schema, state, text, recommendation, deterministic_text, reason, model, citations, cited_facts,
               finish_reason, usage}

Schema 2 added `services`; a row of schema 1 has none, which is read as "not asked". `port_states` is always complete.
`probes` holds every probe of an address with up to 1,000 ports, and above that only the open ones, the first 1,000 of
them. `scans/core/summary/facts.py` reads evidence and verdict by these names.

Every text from outside passes `clean_text` here once more, whatever its stage did: Postgres refuses NUL, lone surrogates
and NaN, and one such value would cost the whole row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from scans.core import fingerprint
from scans.core.cloud_metadata import cloud_metadata
from scans.core.ports import compact, count_ports, expand_all, service_name, telling_ports
from scans.core.said import merged, service_category
from scans.core.text import clean_text
from scans.core.types import (
    AddressReport,
    Cookie,
    EndOfLife,
    Finding,
    HttpFacts,
    Outcome,
    PortState,
    Probe,
    Report,
    Service,
    SourceResult,
    Summary,
    SummaryState,
    Target,
    Technology,
    TlsFacts,
    Verdict,
    Vulnerability,
)

SCHEMA = 2
MAX_LISTED_PORTS = 1000
MAX_TEXT_CHARS = 2048
MAX_SERVICE_CHARS = 64 * 1024  # of JSON, for all services of one address
_SHORT_SERVICE = ("port", "state", "reason", "protocol", "product", "version", "is_tls", "access")
BEST_FIRST = (  # which state a port has that several addresses answer for
    PortState.OPEN,
    PortState.CLOSED,
    PortState.FILTERED,
    PortState.UNREACHABLE,
    PortState.ERROR,
    PortState.NOT_TESTED,
    PortState.REFUSED,
)
IDENTITY_FACTS = (  # of an address; each from the first source that says it
    "country_code", "organisation", "asn", "as_name", "network", "host_names", "abuse_contact",
    "cloud_provider", "cloud_service", "cloud_region",
)  # fmt: skip

Json = dict[str, Any]
Made = TypeVar("Made")


def _unsaid(kind: type[Any]) -> Json:
    """What a stored dict of this kind has where nothing was said."""
    given = {field.name: None if field.default is MISSING else field.default for field in fields(kind)}
    return {name: [] if value == () else value for name, value in given.items()}


_SERVICE, _HTTP, _TLS = _unsaid(Service), _unsaid(HttpFacts), _unsaid(TlsFacts)
_VULNERABILITY, _END_OF_LIFE = _unsaid(Vulnerability), _unsaid(EndOfLife)
BASIS = "version match only"  # of all that is known against products: it is indicated, and never confirmed


# Values to stored dicts


def evidence_dict(report: Report) -> Json:
    """What was seen. Immutable once the report is final."""
    error = None
    if report.outcome is not Outcome.DONE:
        error = {"code": _text(report.error_code or "unknown"), "detail": _text(report.error or "")}
    return {
        "schema": SCHEMA,
        "target": _target_dict(report.target),
        "outcome": report.outcome.value,
        "error": error,
        "started_at": _time(report.started_at),
        "finished_at": _time(report.finished_at),
        "addresses": [_address_dict(address) for address in report.addresses],
    }


def verdict_dict(verdict: Verdict) -> Json:
    """The level and its reasons."""
    known = verdict.completeness
    return {
        "schema": SCHEMA,
        "level": verdict.level.value,
        "score": verdict.score,
        "ruleset": _text(verdict.ruleset),
        "findings": [_finding_dict(finding) for finding in verdict.findings],
        "completeness": {
            "ports_answered": known.ports_answered,
            "ports_tested": known.ports_tested,
            "sources_answered": known.sources_answered,
            "sources_asked": known.sources_asked,
            "doubts": [_text(doubt) for doubt in known.doubts],
        },
    }


def summary_dict(summary: Summary) -> Json:
    """The words, whoever wrote them."""
    return {
        "schema": SCHEMA,
        "state": summary.state.value,
        "text": _text(summary.text),
        "recommendation": _text(summary.recommendation) if summary.recommendation else None,
        "deterministic_text": _text(summary.deterministic_text),
        "reason": _text(summary.reason),
        "model": _text(summary.model) if summary.model else None,
        "citations": [_text(citation) for citation in summary.citations],
        "cited_facts": [_text(fact) for fact in summary.cited_facts],
        "finish_reason": _text(summary.finish_reason),
        "usage": {_text(name): int(count) for name, count in sorted(summary.usage.items())},
    }


def summary_from_dict(stored: Mapping[str, Any]) -> Summary:
    """A stored summary again, for the step that replaces the deterministic words by the model's."""
    return Summary(
        state=SummaryState(stored["state"]),
        text=stored["text"],
        recommendation=stored["recommendation"],
        deterministic_text=stored["deterministic_text"],
        reason=stored["reason"],
        model=stored["model"],
        citations=tuple(stored["citations"]),
        cited_facts=tuple(stored.get("cited_facts", ())),
        finish_reason=stored.get("finish_reason", ""),
        usage=dict(stored["usage"]),
    )


def _target_dict(target: Target) -> Json:
    return {
        "text": _text(target.text),
        "kind": target.kind.value,
        "host": _text(target.host),
        "port": target.port,
        "scheme": _text(target.scheme) if target.scheme else None,
        "path": _text(target.path),
        "notes": [_text(note) for note in target.notes],
    }


def _address_dict(address: AddressReport) -> Json:
    return {
        "address": str(address.address),
        "is_global": address.is_global,
        "answers_everywhere": address.answers_everywhere,
        **_probes_dict(address.probes),
        "sources": [_source_dict(result) for result in address.sources],
        "services": services_list(address.services),
        **_known_against(address),
    }


def _known_against(address: AddressReport) -> Json:
    """What is known against its products; nothing of that where nobody could say."""
    given = {"vulnerabilities": address.vulnerabilities, "end_of_life": address.end_of_life}
    return {name: [_known(each) for each in known] for name, known in given.items() if known is not None}


class _Last(Generic[Made]):
    """What was last made of which probes: refused targets of a job share theirs, which may be long, and dark hosts do.

    One pair, read once and replaced whole: several threads come by here, and none may see one's probes with what was made
    of another's.
    """

    def __init__(self) -> None:
        self._pair: tuple[object, Made | None] = (None, None)

    def of(self, probes: object, make: Callable[[], Made]) -> Made:
        """What was made of these very probes, or is made now. Nobody changes it: it is part of many results."""
        given, made = self._pair
        if given is not probes or made is None:
            made = make()
            self._pair = (probes, made)
        return made


_last_dict: _Last[Mapping[str, Any]] = _Last()
_last_tests: _Last[list[Json]] = _Last()


def _probes_dict(probes: tuple[Probe, ...]) -> Mapping[str, Any]:
    return _last_dict.of(probes, lambda: _made_dict(probes))


def _made_dict(probes: tuple[Probe, ...]) -> Mapping[str, Any]:
    ports: dict[PortState, list[int]] = {state: [] for state in PortState}
    for probe in probes:
        ports[probe.state].append(probe.port)
    is_short = len(probes) <= MAX_LISTED_PORTS
    listed = [probe for probe in sorted(probes) if is_short or probe.state is PortState.OPEN][:MAX_LISTED_PORTS]
    return {
        "port_states": {state.value: compact(found) for state, found in ports.items()},
        "probes": [_probe_list(probe) for probe in listed],
    }


def _probe_list(probe: Probe) -> list[Any]:
    latency = probe.latency_ms
    latency_ms = round(latency, 2) if latency is not None and math.isfinite(latency) else None
    return [probe.port, probe.state.value, _text(probe.reason), probe.attempts, latency_ms]


def _source_dict(result: SourceResult) -> Json:
    known = {name: value for name, value in asdict(result.facts).items() if value is not None}
    return {
        "source": _text(result.source),
        "state": result.state.value,
        "reason": _text(result.reason),
        "observed_at": _time(result.observed_at) if result.observed_at else None,
        "is_cached": result.is_cached,
        "elapsed_ms": result.elapsed_ms,
        **({"contacted": [_text(host) for host in result.contacted]} if result.contacted else {}),
        "facts": {name: _said(value) for name, value in known.items()},
    }


def _said(value: Any) -> Any:
    """A fact as plain JSON, its texts clean."""
    if isinstance(value, tuple):
        return [clean_text(item) if isinstance(item, str) else item for item in value]
    return clean_text(value) if isinstance(value, str) else value


def services_list(services: Iterable[Service]) -> list[Json]:
    """What each service said. Of all of one address no more text than MAX_SERVICE_CHARS is kept: the first come first."""
    left, stored = MAX_SERVICE_CHARS, []
    for service in services:
        known = _known(service)
        if (size := len(json.dumps(known))) > left:
            known = {name: known[name] for name in _SHORT_SERVICE if name in known}
        left -= min(size, left)
        stored.append(known)
    return stored


def _known(value: Any) -> Any:
    """A value of `Service` as JSON: without what it leaves unsaid, text clean, times in UTC. An empty tuple was said."""
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        is_short = isinstance(value, Cookie | Technology)  # in a list, all alike
        return {name: _known(held) for name, held in named.items() if is_short or held not in (None, "")}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_known(each) for each in value]
    return value


def _finding_dict(finding: Finding) -> Json:
    return {
        "rule_id": _text(finding.rule_id),
        "title": _text(finding.title),
        "points": finding.points,
        "ports": list(finding.ports),
        "evidence": _text(finding.evidence),
        "remediation": _text(finding.remediation),
        "reference": _text(finding.reference),
        "floor": finding.floor.value if finding.floor else None,
    }


def _text(said: str) -> str:
    return clean_text(said, limit=MAX_TEXT_CHARS)


def _time(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z. Raises ValueError for a time without a zone: it could mean any moment of a day."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# Stored dicts to the wire


def wire_result(
    evidence: Mapping[str, Any],
    verdict: Mapping[str, Any],
    summary: Mapping[str, Any],
    rescored: Iterable[tuple[datetime, Mapping[str, Any]]] = (),
) -> Json:
    """One entry of results[]. `rescored` are verdicts by other rules, and when they were made; they change nothing else.

    The first ten fields and `metadata` are those that clients of the original API know, with their names, types and
    nulls; the place of the middle four is both that of its earlier and of its later version. The rest is added.
    The identity of a target with several addresses is that of the first; ports are merged over all of them. An open port
    of a host that answers everywhere is listed only where a service was identified; `port_states` stays complete.
    """
    addresses = evidence["addresses"]
    port_states = _merged_states(addresses)
    open_ports = sorted(set[int]().union(*map(telling_ports, addresses)))
    sources = addresses[0]["sources"] if addresses else []
    identity = _identity(sources)
    place = {name: identity[name] for name in ("location", "country", "provider", "service_category")}
    return {
        "target": evidence["target"]["text"],
        "ip_address": addresses[0]["address"] if addresses else _literal_address(evidence["target"]["host"]),
        "availability": bool(port_states["open"]),
        "publicly_exposed": any(address["is_global"] and address["port_states"]["open"] for address in addresses),
        "open_ports": open_ports,
        "accessibility_tests": _accessibility_tests(addresses, port_states),
        "risk_level": verdict["level"],
        "risk_summary": summary["text"],
        "recommendation": summary["recommendation"],
        **place,
        "metadata": {**place, **cloud_metadata(sources)},
        "testing_techniques": _techniques(addresses),
        "schema_version": SCHEMA,
        "outcome": evidence["outcome"],
        "error": evidence["error"],
        "started_at": evidence["started_at"],
        "finished_at": evidence["finished_at"],
        "notes": evidence["target"]["notes"],
        "port_states": port_states,
        "addresses": [_wire_address(address) for address in addresses],
        "sources": [_wire_source(address, source) for address in addresses for source in address["sources"]],
        "risk_score": verdict["score"],
        "ruleset_version": verdict["ruleset"],
        "findings": verdict["findings"],
        "completeness": verdict["completeness"],
        "deterministic_summary": _if_other(summary["deterministic_text"], summary["text"]),
        "ai": _wire_ai(summary),
        "rescored": [_wire_rescored(moment, other) for moment, other in rescored],
    }


def _wire_ai(summary: Mapping[str, Any]) -> Json:
    """Who wrote the words. The later two are missing where an earlier version stored them."""
    told = {name: summary[name] for name in ("state", "reason", "model", "citations", "usage")}
    return told | {"cited_facts": summary.get("cited_facts", []), "finish_reason": summary.get("finish_reason", "")}


def _wire_rescored(moment: datetime, verdict: Mapping[str, Any]) -> Json:
    return {
        "ruleset_version": verdict["ruleset"],
        "rescored_at": _time(moment),
        "risk_level": verdict["level"],
        "risk_score": verdict["score"],
        "findings": verdict["findings"],
    }


def _literal_address(host: str) -> str:
    """The address of a target that was refused by its number; `unknown` means that a name led to none."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "unknown"


def _merged_states(addresses: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Each port under the best state that it has at any address."""
    if len(addresses) == 1:
        return dict(addresses[0]["port_states"])
    seen: set[int] = set()
    merged: dict[str, str] = {}
    for state in BEST_FIRST:
        ports = expand_all(address["port_states"][state.value] for address in addresses) - seen
        seen |= ports
        merged[state.value] = compact(ports)
    return merged


def _accessibility_tests(addresses: Sequence[Mapping[str, Any]], port_states: Mapping[str, str]) -> list[Json]:
    """Every tested port up to 1,000 of them, above that only the open ones, at most 1,000 as well; ascending."""
    if any(address.get("answers_everywhere") for address in addresses):
        telling = set[int]().union(*map(telling_ports, addresses))
        return [t for t in _made_tests(addresses, port_states) if t["state"] != PortState.OPEN or t["port"] in telling]
    if len(addresses) == 1:
        return _last_tests.of(addresses[0]["probes"], lambda: _made_tests(addresses, port_states))
    return _made_tests(addresses, port_states)


def _made_tests(addresses: Iterable[Mapping[str, Any]], port_states: Mapping[str, str]) -> list[Json]:
    best: dict[int, list[Any]] = {}
    for probe in (probe for address in addresses for probe in address["probes"]):
        known = best.get(probe[0])
        if known is None or _badness(probe[1]) < _badness(known[1]):
            best[probe[0]] = probe
    is_short = sum(map(count_ports, port_states.values())) <= MAX_LISTED_PORTS
    listed = [best[port] for port in sorted(best) if is_short or best[port][1] == PortState.OPEN]
    return [_accessibility_test(*probe) for probe in listed[:MAX_LISTED_PORTS]]


def _accessibility_test(port: int, state: str, reason: str, attempts: int, latency_ms: float | None) -> Json:
    return {
        "port": port,
        "service": service_name(port),
        "status": "open" if state == PortState.OPEN else "closed",
        "state": state,
        "reason": reason,
        "attempts": attempts,
        "latency_ms": latency_ms,
    }


def _badness(state: str) -> int:
    return BEST_FIRST.index(PortState(state))


def _identity(sources: Iterable[Mapping[str, Any]]) -> Json:
    """Who runs an address and where, from the first source that says so."""
    facts = merged(sources)
    return {
        "location": ", ".join(part for part in (facts["city"], facts["region"]) if part) or None,
        "country": facts["country"],
        "provider": facts["isp"] or facts["organisation"],
        "service_category": service_category(facts),
        **{name: facts[name] for name in IDENTITY_FACTS},
    }


def _wire_address(address: Mapping[str, Any]) -> Json:
    return {
        "address": address["address"],
        "is_global": address["is_global"],
        "open_ports": sorted(telling_ports(address)),
        "answers_everywhere": address.get("answers_everywhere"),
        "port_states": address["port_states"],
        **_identity(address["sources"]),
        "services": [_wire_service(service) for service in address.get("services", ())],
        **known_against_dict(address),
    }


def known_against_dict(address: Mapping[str, Any]) -> Json:
    """What is known against the products of a stored address, every field whether stored or not."""
    return {
        "vulnerabilities": _wire_known(address.get("vulnerabilities"), _VULNERABILITY),
        "end_of_life": _wire_known(address.get("end_of_life"), _END_OF_LIFE),
    }


def _wire_known(stored: Iterable[Mapping[str, Any]] | None, unsaid: Json) -> list[Json] | None:
    """What is known against products, with what it rests on. None: nobody could say."""
    return None if stored is None else [{**unsaid, **known, "basis": BASIS} for known in stored]


def _wire_service(service: Mapping[str, Any]) -> Json:
    """Every field, whether stored or not: what was not said is null."""
    http, tls = service.get("http"), service.get("tls")
    return {
        **_SERVICE,
        **service,
        "http": {**_HTTP, **http, "security_headers": dict(http.get("security_headers", ()))} if http else None,
        "tls": {**_TLS, **tls} if tls else None,
    }


def _techniques(addresses: Iterable[Mapping[str, Any]]) -> list[str]:
    """In the free words of the original: what was done to find out."""
    services = [service for address in addresses for service in address.get("services", ())]
    names = {_techniques_by_protocol().get(service.get("protocol")) for service in services}
    if any("tls" in service for service in services):
        names.add(_techniques_by_protocol()["TLS"])
    return sorted(filter(None, names))


@cache
def _techniques_by_protocol() -> Mapping[str | None, str]:
    """Made when a service is there: the protocols take their time to import, and a scan that only probes needs none."""
    return {protocol.name: protocol.technique for protocol in fingerprint.PROTOCOLS}


def _wire_source(address: Mapping[str, Any], source: Mapping[str, Any]) -> Json:
    said = {name: value for name, value in source.items() if name != "elapsed_ms"}
    return {"address": address["address"], "contacted": [], **said}  # the time is a batch's, for the dashboard


def _if_other(text: str, shown: str) -> str | None:
    return text if text != shown else None
