"""The numbered facts that the model sees, and what it may therefore say.

Built from the stored evidence and verdict (their shape is written down in `scans/core/wire.py`), because the model
is asked later than the scan. The list is minimal and redacted: no target as written, no address, no host name, no
silent or closed port by number. So a port that the model names is open and in the facts, or it is invented.

What a source or a scanned service said in its own words stands apart as `untrusted_observations`; nothing in it widens
what the model may say. Of a service only what is ours is a fact: port, protocol, encryption, and that it answered; of a
source its flags, its numbers, and what has a form that we can check. A finding whose evidence quotes a stranger keeps its
title, and the evidence stands apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scans.core.ports import expand, service_name, telling_ports
from scans.core.risk.words import port_list, service_list
from scans.core.text import clean_text
from scans.core.types import Level, ServiceState, SourceState

MAX_SAID_CHARS = 200
MAX_FINDINGS = 12
MAX_ADDRESSES = 8
MAX_SERVICES = 20
MAX_SOURCES = 24
MAX_LISTED = 10  # of a source's list
LEAST_SAID_CHARS = 4  # a shorter saying occurs in a text by chance
CVE = re.compile(r"cve-\d{4}-\d{4,7}", re.IGNORECASE)
RULE_ID = re.compile(r"\b(?!sha|aes|rsa)[a-z]{3}-\d{3}\b", re.IGNORECASE)
_SAID = (
    "country", "organisation", "isp", "as_name", "network_name", "cloud_provider", "cloud_service", "cloud_region",
    "classified_as", "dns_lists", "policy_lists", "block_lists", "tags",
)  # fmt: skip
_SERVICE_SAID = ("product", "version")
_STATED = (
    "is_proxy", "is_mobile", "is_hosting", "is_tor_exit", "is_cdn", "vendor_flags", "abuse_score", "abuse_reports", "pulses",
)  # fmt: skip
_VULNERABILITY_STATED = ("cvss", "epss", "is_exploited", "is_ransomware")
_CLASSES = frozenset({"malicious", "benign", "unknown"})
_UNASKED = frozenset({SourceState.SKIPPED, SourceState.NOT_APPLICABLE})


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The facts as JSON text, and the same as sets for the validator."""

    text: str
    rule_of: Mapping[str, str]  # the number of each fact (F1, F2 …) and the rule it states, or ""
    level: Level
    rules: tuple[str, ...]  # that fired and are in the text, worst first
    ports: frozenset[int]  # open ones; no other port may be named
    numbers: frozenset[int]  # every whole number in the trusted part of the text; the facts' own do not count
    cves: frozenset[str]  # in lower case
    services: str  # every word in the trusted part that could be a service's name, in lower case
    said: frozenset[str] = frozenset()  # what strangers said, in lower case: nothing of it may turn up elsewhere

    @property
    def count(self) -> int:
        """How many facts there are."""
        return len(self.rule_of)


def facts_for(evidence: Mapping[str, Any], verdict: Mapping[str, Any]) -> ModelFacts:
    """The facts about one finished target."""
    addresses = evidence["addresses"][:MAX_ADDRESSES]
    findings = verdict["findings"][:MAX_FINDINGS]
    services = [service for address in addresses for service in address.get("services", ())]
    identified = [service for service in services if service["state"] == ServiceState.IDENTIFIED][:MAX_SERVICES]
    sources = [source for address in addresses for source in address["sources"] if source["state"] not in _UNASKED]
    observations = [*_observations(sources[:MAX_SOURCES]), *_products(identified)]
    said = frozenset(_sayings(observations))
    quoting = [finding for finding in findings if _quotes(finding["evidence"], said, identified)]
    observations += [{"rule": finding["rule_id"], "evidence": _said(finding["evidence"])} for finding in quoting]
    statements = [
        *(_finding(finding, is_ours=finding not in quoting) for finding in findings),
        *map(_address, addresses),
        *map(_service, identified),
        *(_vulnerability(known) for address in addresses for known in _vulnerabilities(address)),
        *map(_source, sources[:MAX_SOURCES]),
    ]
    numbered = {f"F{number}": statement for number, statement in enumerate(statements, 1)}
    trusted = {
        "risk_level": verdict["level"],
        "risk_score": verdict["score"],
        "ports_answered": verdict["completeness"]["ports_answered"],
        "ports_tested": verdict["completeness"]["ports_tested"],
        "facts": [{"id": number, **statement} for number, statement in numbered.items()],
    }
    trusted_text = json.dumps({**trusted, "facts": statements}, ensure_ascii=False, sort_keys=True)
    ports = {port for address in addresses for port in telling_ports(address)}
    untrusted = {"untrusted_observations": observations}
    bare_text = CVE.sub(" ", RULE_ID.sub(" ", trusted_text))  # whose numbers are no numbers of the target
    return ModelFacts(
        text=json.dumps({**trusted, **untrusted}, ensure_ascii=False, sort_keys=True),
        rule_of={number: str(statement.get("rule", "")) for number, statement in numbered.items()},
        level=Level(verdict["level"]),
        rules=tuple(finding["rule_id"] for finding in findings),
        ports=frozenset(ports),
        numbers=frozenset(int(digits) for digits in re.findall(r"\d{1,9}", bare_text)) | ports,
        cves=frozenset(cve.lower() for cve in CVE.findall(trusted_text)),
        services=f"{trusted_text} {' '.join(sorted({service_name(port) for port in ports}))}".lower(),
        said=said,
    )


def _finding(finding: Mapping[str, Any], *, is_ours: bool) -> dict[str, object]:
    stated = {
        "rule": finding["rule_id"],
        "title": finding["title"],
        "points": finding["points"],
        "remediation": _said(finding["remediation"]),
    }
    return stated | {"evidence": _said(finding["evidence"])} if is_ours else stated


def _quotes(evidence: str, said: Iterable[str], services: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the text holds what a stranger said. The names of protocols are ours, also where a product is called so."""
    ours = {str(service["protocol"]).lower() for service in services}
    text = evidence.lower()
    return any(saying in text and saying not in ours for saying in said)


def _sayings(observations: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for value in (value for observation in observations for value in observation.values()):
        texts = value if isinstance(value, list) else [value]
        yield from (text.lower() for text in texts if isinstance(text, str) and len(text) >= LEAST_SAID_CHARS)


def _address(address: Mapping[str, Any]) -> dict[str, object]:
    """What one address showed, without the address."""
    ports = {state: tuple(expand(text)) for state, text in address["port_states"].items()}
    telling = sorted(telling_ports(address))
    counts = {f"ports_{state}": len(found) for state, found in ports.items() if found and state != "open"}
    return {
        "is_public": address["is_global"],
        "open_ports": port_list(telling) or "none",
        "usual_services": service_list(telling) or "none",
        **({"answers_everywhere": True} if address.get("answers_everywhere") else {}),
        **counts,
    }


def _service(service: Mapping[str, Any]) -> dict[str, object]:
    """What one service is, in words of ours."""
    return {
        "service": service["protocol"],
        "port": service["port"],
        "is_encrypted": service["is_tls"],
        "answered_without_credentials": "access" in service,
    }


def _vulnerabilities(address: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The worst that sources name for its versions."""
    return [known for known in address.get("vulnerabilities") or () if CVE.fullmatch(known["cve"])][:MAX_LISTED]


def _vulnerability(known: Mapping[str, Any]) -> dict[str, object]:
    """A CVE by its number and numbers; of which product stands with the service, in the service's words."""
    stated = {"vulnerability": known["cve"].upper(), "is_confirmed": False, **_known(known, _VULNERABILITY_STATED)}
    ports = port_list(known.get("ports", ()))
    return stated | {"ports": ports} if ports else stated


def _products(services: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    said = [_known(service, _SERVICE_SAID) for service in services]
    return [observation for observation in said if observation]


def _source(source: Mapping[str, Any]) -> dict[str, object]:
    """What a look-up answered in flags, numbers and words of ours; a reason in the service's words is left out."""
    facts = source["facts"]
    stated = {"source": source["source"], "state": source["state"], **_known(facts, _STATED)}
    if facts.get("classification") in _CLASSES:
        stated["classification"] = facts["classification"]
    cves = [cve.upper() for cve in facts.get("seen_cves") or () if CVE.fullmatch(cve)]
    return stated | {"vulnerabilities_inferred": cves[:MAX_LISTED]} if cves else stated


def _observations(sources: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    said = [_known(source["facts"], _SAID) for source in sources]
    return [observation for observation in said if observation]


def _known(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, object]:
    return {name: _said(facts[name]) for name in names if facts.get(name) is not None}


def _said(value: Any) -> Any:
    """Texts cleaned and cut, also those of a list; anything else as it is."""
    if isinstance(value, list | tuple):
        return [_said(item) for item in value[:MAX_LISTED]]
    return clean_text(value, limit=MAX_SAID_CHARS) if isinstance(value, str) else value
