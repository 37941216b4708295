"""What usually stands behind a port, as far as it decides what is tried there: the `probe` column of `scans/core/ports.csv`.

connect-only…   nothing is ever sent: a byte could print, trip or confuse what listens there
banner…         the service speaks first, so it is given longer to begin
tls…            a TLS handshake is the first thing to send
http… or GET…   a request is
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from scans.core import ports
from scans.core.ports import DEFAULT_SERVICES, catalogue, category

# JetDirect prints what it gets, on one port for each printer; the catalogue lists the first only.
PRINTER_PORTS = frozenset(range(9100, 9108))
HANDS_OFF_CATEGORIES = frozenset({"ics"})


def is_hands_off(port: int) -> bool:
    """Whether not one byte may be sent."""
    return port in PRINTER_PORTS or category(port) in HANDS_OFF_CATEGORIES or _probe(port).startswith("connect-only")


def speaks_first(port: int) -> bool:
    """Whether the usual service greets."""
    return _probe(port).startswith("banner")


def is_web(port: int) -> bool:
    """Whether the usual service is HTTP without TLS."""
    return _probe(port).startswith(("http", "GET "))


def is_encrypted(port: int) -> bool:
    """Whether the usual service begins with TLS."""
    return _probe(port).startswith("tls")


def may_redirect_to(port: int) -> bool:
    """Whether a redirect from another port of the address is followed to this one: only where a web server is usual."""
    return (is_web(port) or is_encrypted(port)) and not is_hands_off(port)


def by_promise(port: int) -> tuple[int, int]:
    """A sort key: which ports to ask if not all can be asked. The default profile, then the catalogue, then the rest."""
    return (0 if port in DEFAULT_SERVICES else 1 if port in catalogue() else 2), port


def _probe(port: int) -> str:
    return _probes().get(port, "")


@cache
def _probes() -> dict[int, str]:
    with (Path(ports.__file__).parent / "ports.csv").open(newline="", encoding="utf-8") as lines:
        return {int(row["port"]): row["probe"] for row in csv.DictReader(lines)}
