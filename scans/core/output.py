"""Results as text: the lines of NDJSON and CSV that every export is made of, and the formats of the command line.

    results ─► ndjson_lines ┐             ┌─► a file that is sent piece by piece (scans/api/export.py, scans/admin/export.py)
               csv_lines    ┘─► an iterator ─► WRITERS: a terminal or a pipe (the bare scanner, `manage.py scan`)

The CSV is that of RFC 4180 with every cell quoted and a header; no cell begins as a spreadsheet's formula does. Results
are written as they become ready, so each of the command line's carries its place in the submission as `ordinal`.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from scans.core.said import REPUTATION, in_words, speaking

CSV_FIELDS = (
    "target", "ip_address", "outcome", "risk_level", "risk_score", "open_ports", "risk_summary", "services", "certificates",
    "findings", "organisation", "asn", "network", "host_names", "cloud", "reputation", "sources", "answers_everywhere",
)  # fmt: skip
CLOUD_FACTS = ("cloud_provider", "cloud_service", "cloud_region")
NDJSON_TYPE = "application/x-ndjson"
CSV_TYPE = "text/csv; charset=utf-8; header=present"
MAX_SHOWN_PORTS = 30
MAX_CELL_NAMES = 20  # of one certificate; a spreadsheet's cell holds 32,767 characters
Result = Mapping[str, Any]
Writer = Callable[[Iterable[Result]], None]

# The cells that are not a field of the result as it stands.
_CELLS: dict[str, Callable[[Result], Any]] = {
    "addresses": lambda result: " ".join(address["address"] for address in result["addresses"]),
    "error": lambda result: result["error"]["detail"] if result["error"] else "",
    "publicly_exposed": lambda result: "yes" if result["publicly_exposed"] else "no",
    "open_ports": lambda result: " ".join(map(str, result["open_ports"])),
    "answers_everywhere": lambda result: {True: "yes", False: "no", None: ""}[answers_everywhere(result)],
    "waived": lambda result: "; ".join(finding["title"] for finding in result["findings"] if finding.get("waiver")),
    "findings": lambda result: "; ".join(finding["title"] for finding in result["findings"]),
    "services": lambda result: "; ".join(_service_words(result)),
    "certificates": lambda result: "; ".join(_certificate_words(result)),
    "vulnerabilities": lambda result: "; ".join(_vulnerability_words(result)),
    "end_of_life": lambda result: "; ".join(_end_of_life_words(result)),
    "organisation": lambda result: _of_first(result, "organisation"),
    "asn": lambda result: _of_first(result, "asn"),
    "network": lambda result: _of_first(result, "network"),
    "host_names": lambda result: " ".join(_of_first(result, "host_names") or ()),
    "cloud": lambda result: " ".join(
        filter(None, (_of_first(result, f"cloud_{part}") for part in ("provider", "service", "region")))
    ),
    "reputation": lambda result: "; ".join(_reputation_words(result)),
    "sources": lambda result: "; ".join(f"{_asked(result, source)} {source['state']}" for source in result["sources"]),
}


def ndjson_lines(results: Iterable[Result]) -> Iterator[str]:
    """One JSON object a line."""
    return (json_text(result) + "\n" for result in results)


def csv_lines(results: Iterable[Result], columns: Sequence[str] = CSV_FIELDS) -> Iterator[str]:
    """The header and one line for each result."""
    write = csv.writer(_Echo(), quoting=csv.QUOTE_ALL).writerow
    yield write(columns)
    for result in results:
        yield write([_cell(result, name) for name in columns])


def json_text(document: Any) -> str:
    """On one line; what is not ASCII stands as it is."""
    return json.dumps(document, ensure_ascii=False)


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (ASVS 5.0, 1.2.10)."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0")) else cell


def answers_everywhere(result: Result) -> bool | None:
    """Whether any of its addresses accepts connections on every port; None: none was asked."""
    said = [address["answers_everywhere"] for address in result["addresses"] if address["answers_everywhere"] is not None]
    return any(said) if said else None


def _cell(result: Result, name: str) -> str:
    value = _CELLS[name](result) if name in _CELLS else result[name]
    return "" if value is None else inert(str(value))


def _service_words(result: Result) -> Iterator[str]:
    """What said what it is: "22 SSH OpenSSH 9.2p1", "443 HTTP (TLS) nginx"."""
    for where, service in _services(result):
        if service["protocol"]:
            inside = " (TLS)" if service["is_tls"] and service["protocol"] != "TLS" else ""
            yield " ".join(filter(None, (where, service["protocol"] + inside, service["product"], service["version"])))


def _certificate_words(result: Result) -> Iterator[str]:
    """For which names, and until when: "443 www.example.org, example.org until 2027-01-05T08:00:00Z"."""
    for where, service in _services(result):
        tls = service["tls"]
        if tls and tls["not_after"]:
            names = tls["names"][:MAX_CELL_NAMES]
            more = f" and {tls['names_count'] - len(names)} more" if tls["names_count"] > len(names) else ""
            yield f"{where} {', '.join(names) or tls['subject']}{more} until {tls['not_after']}"


def _vulnerability_words(result: Result) -> Iterator[str]:
    """Each CVE once, the worst first: "CVE-2021-23017 exploited, EPSS 0.76, CVSS 7.7"."""
    known = [each for address in result["addresses"] for each in address["vulnerabilities"] or ()]
    for each in {each["cve"]: each for each in known}.values():
        words = ["exploited"] if each["is_exploited"] else []
        words += [f"EPSS {each['epss']:.2g}"] if each["epss"] is not None else []
        words += [f"CVSS {each['cvss']:g}"] if each["cvss"] is not None else []
        yield " ".join(filter(None, (each["cve"], ", ".join(words))))


def _end_of_life_words(result: Result) -> Iterator[str]:
    """Each product and version once: "nginx 1.18.0 since 2021-04-20"."""
    ended = [each for address in result["addresses"] for each in address["end_of_life"] or ()]
    words = (f"{each['product']} {each['version']}" + (f" since {each['since']}" if each["since"] else "") for each in ended)
    return iter(dict.fromkeys(words))


def _services(result: Result) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each with its port, and its address if the target has several."""
    for address in result["addresses"]:
        before = f"{address['address']} port " if len(result["addresses"]) > 1 else ""
        yield from ((f"{before}{service['port']}", service) for service in address["services"])


def _of_first(result: Result, name: str) -> Any:
    """Who it is, by the first address, as in `provider`."""
    return result["addresses"][0][name] if result["addresses"] else None


def _reputation_words(result: Result) -> Iterator[str]:
    """What is known against it: "abuseipdb Abuse score: 90 of 100, 12 reports"."""
    for source in speaking(result["sources"]):
        for words in in_words(source, REPUTATION):
            yield f"{_asked(result, source)} {words}"


def _asked(result: Result, source: Mapping[str, Any]) -> str:
    """A source, with the address that it was asked about if the target has several."""
    return f"{source['address']} {source['source']}" if len(result["addresses"]) > 1 else str(source["source"])


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


# The formats of the command line


def _write_table(results: Iterable[Result]) -> None:
    for result in results:
        usual = {test["port"]: test["service"] for test in result["accessibility_tests"]}
        names = usual | _identified(result)
        shown = " ".join(f"{port}/{names.get(port, 'unknown')}" for port in result["open_ports"][:MAX_SHOWN_PORTS])
        more = (
            f" and {len(result['open_ports']) - MAX_SHOWN_PORTS} more" if len(result["open_ports"]) > MAX_SHOWN_PORTS else ""
        )
        if answers_everywhere(result):
            shown = f"answers everywhere, identified: {shown or 'nothing'}"
        address = "" if result["ip_address"] == result["target"] else f" ({result['ip_address']})"
        print(f"{result['target']}{address}  {result['risk_level']}  {shown or 'no open port'}{more}")
        print(f"    {result['risk_summary']}", flush=True)


def _identified(result: Result) -> dict[int, str]:
    """What said what it is: "SSH(OpenSSH-9.2p1)". Clean text already; a space would end the port's word."""
    found = {}
    for service in (service for address in result["addresses"] for service in address["services"]):
        if service["protocol"]:
            said = "-".join(part for part in (service["product"], service["version"]) if part)
            found[service["port"]] = f"{service['protocol']}({said})".replace(" ", "_") if said else service["protocol"]
    return found


def _write_ndjson(results: Iterable[Result]) -> None:
    for line in ndjson_lines(results):
        print(line, end="", flush=True)


def _write_json(results: Iterable[Result]) -> None:
    print(json.dumps(sorted(results, key=lambda result: result["ordinal"]), ensure_ascii=False, indent=1))


def _write_csv(results: Iterable[Result]) -> None:
    for line in csv_lines(results):
        sys.stdout.write(line)


WRITERS: dict[str, Writer] = {"table": _write_table, "ndjson": _write_ndjson, "json": _write_json, "csv": _write_csv}
