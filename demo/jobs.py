"""What is submitted, so that history, dashboard and earlier scans have something to show.

1. The site as it was, and beside it a pipeline's job and one whose targets go wrong in different ways.
2. A new service appears.
3. The site again: now there is an earlier scan, and a difference to it.
4. A job too long to wait for, cancelled once its first targets are done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demo.client import Client
from demo.scenery import CLOSED, KEPT, MANY, PORTS, PRIVATE_SERVICE, REFUSED, SITE_TARGETS, UNRESOLVED, WEB

MANY_PORTS = "1-500"
Wait = Callable[[Callable[[], bool]], None]  # until it is true; raises when the demo ends or it takes too long


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """Tokens of the jobs worth a look."""

    first: str
    report: str
    mixed: str
    refused: str
    cancelled: str


def submit_all(client: Client, *, wait: Wait, open_late_services: Callable[[], None], has_ipv6: bool) -> Submitted:
    """Submit everything and wait for the results."""
    ports = list(PORTS)
    first = client.submit(
        endpoints=list(SITE_TARGETS), ports=ports, label="Example site, weekly", tags=["weekly", "example-site"]
    )
    build = client.submit(ip_addresses=[KEPT, CLOSED], ports=ports, label="Build 1042", tags=["pipeline"])
    mixed = client.submit(
        endpoints=[WEB, UNRESOLVED, *REFUSED[:2], *_private(has_ipv6)], ports=ports, label="What can go wrong", tags=["odd"]
    )
    refused = client.submit(ip_addresses=list(REFUSED), label="Out of scope")
    wait(lambda: _are_finished(client, [first, build, mixed, refused]))
    open_late_services()
    report = client.rerun(first)
    wait(lambda: _are_finished(client, [report]))
    cancelled = client.submit(ip_addresses=[MANY], ports=MANY_PORTS, generate_ai_summary=False, label="Too wide, stopped")
    wait(lambda: client.job(cancelled)["completed_targets"] > 0)
    client.cancel(cancelled)
    wait(lambda: _are_finished(client, [cancelled]))
    return Submitted(first=first, report=report, mixed=mixed, refused=refused, cancelled=cancelled)


def _private(has_ipv6: bool) -> list[str]:
    return [f"http://[{PRIVATE_SERVICE.address}]:{PRIVATE_SERVICE.port}/"] if has_ipv6 else []


def _are_finished(client: Client, tokens: Sequence[str]) -> bool:
    return all(client.job(token)["status"] in ("complete", "failed") for token in tokens)
