"""The numbered facts that the model sees, and what it may therefore say.

Built from the stored evidence and verdict (their shape is written down in `scans/core/wire.py`), because the model
is asked later than the scan. The list is minimal and redacted: no target as written, no address, no host name, no
silent or closed port by number. So a port that the model names is open and in the facts, or it is invented.

What a source or a scanned service said in its own words stands apart as `untrusted_observations`; nothing in it widens
what the model may say. Of a service only what is ours is a fact: port, protocol, encryption, and that it answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scans.core.ports import expand, service_name
from scans.core.risk.words import port_list, service_list
from scans.core.text import clean_text
from scans.core.types import Level, ServiceState

MAX_SAID_CHARS = 200
MAX_FINDINGS = 12
MAX_ADDRESSES = 8
MAX_SERVICES = 20
CVE = re.compile(r"cve-\d{4}-\d{4,7}", re.IGNORECASE)
_SAID = ("country", "organisation", "isp", "as_name")
_SERVICE_SAID = ("product", "version")
_FLAGS = ("is_proxy", "is_mobile", "is_hosting")


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
    statements = [*map(_finding, findings), *map(_address, addresses), *map(_service, identified), *_sources(addresses)]
    numbered = {f"F{number}": statement for number, statement in enumerate(statements, 1)}
    trusted = {
        "risk_level": verdict["level"],
        "risk_score": verdict["score"],
        "ports_answered": verdict["completeness"]["ports_answered"],
        "ports_tested": verdict["completeness"]["ports_tested"],
        "facts": [{"id": number, **statement} for number, statement in numbered.items()],
    }
    trusted_text = json.dumps({**trusted, "facts": statements}, ensure_ascii=False, sort_keys=True)
    ports = {port for address in addresses for port in expand(address["port_states"]["open"])}
    observations = [*_observations(addresses), *_products(identified)]
    untrusted = {"untrusted_observations": observations}
    return ModelFacts(
        text=json.dumps({**trusted, **untrusted}, ensure_ascii=False, sort_keys=True),
        rule_of={number: str(statement.get("rule", "")) for number, statement in numbered.items()},
        level=Level(verdict["level"]),
        rules=tuple(finding["rule_id"] for finding in findings),
        ports=frozenset(ports),
        numbers=frozenset(int(digits) for digits in re.findall(r"\d{1,9}", trusted_text)) | ports,
        cves=frozenset(cve.lower() for cve in CVE.findall(trusted_text)),
        services=f"{trusted_text} {' '.join(sorted({service_name(port) for port in ports}))}".lower(),
        said=frozenset(value.lower() for said in observations for value in said.values() if isinstance(value, str)),
    )


def _finding(finding: Mapping[str, Any]) -> dict[str, object]:
    return {
        "rule": finding["rule_id"],
        "title": finding["title"],
        "points": finding["points"],
        "evidence": clean_text(finding["evidence"], limit=MAX_SAID_CHARS),
        "remediation": clean_text(finding["remediation"], limit=MAX_SAID_CHARS),
    }


def _address(address: Mapping[str, Any]) -> dict[str, object]:
    """What one address showed, without the address."""
    ports = {state: tuple(expand(text)) for state, text in address["port_states"].items()}
    counts = {f"ports_{state}": len(found) for state, found in ports.items() if found and state != "open"}
    return {
        "is_public": address["is_global"],
        "open_ports": port_list(ports["open"]) or "none",
        "usual_services": service_list(ports["open"]) or "none",
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


def _products(services: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    said = [_known(service, _SERVICE_SAID) for service in services]
    return [observation for observation in said if observation]


def _sources(addresses: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    """What each look-up answered in flags and words of ours; a reason in the service's words is left out."""
    return [
        {"source": source["source"], "state": source["state"], **_known(source["facts"], _FLAGS)}
        for address in addresses
        for source in address["sources"]
    ]


def _observations(addresses: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    said = [_known(source["facts"], _SAID) for address in addresses for source in address["sources"]]
    return [observation for observation in said if observation]


def _known(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, object]:
    known = {name: facts[name] for name in names if facts.get(name) is not None}
    return {n: clean_text(value, limit=MAX_SAID_CHARS) if isinstance(value, str) else value for n, value in known.items()}
