"""Stand-ins on 127.0.0.1 for every source that is asked over the network, at once: one HTTP server, one DNS server.

    with every_source() as world: options.intel = world.options(options.intel)

A source whose reply is not known here is told 404 and a name that there is none; that is an answer, too, and enough for
whoever counts requests or wants to know who was contacted.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from scans.core.intel import SOURCES, LocalSource, RemoteSource
from scans.core.intel.base import KeyUse
from scans.core.options import IntelOptions
from tests.fakes import Answer, FakeService, Request, ip_api, service
from tests.patience import PATIENCE

SAMPLES = Path(__file__).parent / "core/intel/samples"
GOOD = {  # a reply in good health of each, of those that SAMPLES holds
    "internetdb": "found.json",
    "greynoise": "noise_malicious.json",
    "abuseipdb": "check_ok.json",
    "virustotal": "ip_ok.json",
    "otx": "ipv4_general.json",
    "ipinfo": "lite_ok.json",
}
REMOTE = [kind for kind in SOURCES if issubclass(kind, RemoteSource)]
LOCAL = [kind for kind in SOURCES if issubclass(kind, LocalSource)]
KEY = "canary-key-0123456789"
NO_SUCH_NAME = b"\x81\x83\0\1\0\0\0\0\0\0"  # flags, one question, no records
FOUND = b"\x81\x80\0\1\0\1\0\0\0\0"  # the same with one record
LISTED = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\2"  # the name above is A 127.0.0.2
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass
class World:
    """The stand-ins, and what they were asked."""

    http: FakeService
    dns: tuple[str, int]
    questions: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)  # who asked DNS: address and port

    def options(self, before: IntelOptions) -> IntelOptions:
        """Every remote source switched on, and each asked here."""
        return replace(
            before,
            sources=tuple(kind.name for kind in REMOTE),
            urls={kind.name: f"{self.http.base_url}/{kind.name}" for kind in REMOTE},
            keys={kind.name: f"{KEY}-{kind.name}" for kind in REMOTE if kind.key is not KeyUse.NONE},
            dns_servers=(self.dns,),
        )

    def requests_of(self, source: str) -> list[Request]:
        """What this source's stand-in was asked over HTTP, in order."""
        return [request for request in list(self.http.requests) if request.path.startswith(f"/{source}/")]


@contextmanager
def every_source() -> Iterator[World]:
    """The stand-ins for the length of the block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, service(_answer) as http:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        world, ended = World(http, server.getsockname()), threading.Event()
        thread = threading.Thread(target=_serve, args=(server, world, ended))
        thread.start()
        try:
            yield world
        finally:
            ended.set()
            thread.join(PATIENCE)


def _answer(request: Request) -> Answer:
    name = request.path.split("/")[1]
    if name == "ip-api":
        return ip_api(request)
    sample = SAMPLES / name / GOOD[name] if name in GOOD else None
    asked = _ADDRESS.findall(request.path)
    if sample is None or not sample.exists() or not asked:
        return Answer.json({}, status=404)
    return Answer.json(json.loads(_ADDRESS.sub(asked[-1], sample.read_text()))["body"])


def _serve(server: socket.socket, world: World, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            query, client = server.recvfrom(4096)
            name, end = _name(query)
            world.questions.append(name)
            world.answered.add(f"{client[0]}:{client[1]}")
            asked = query[12 : end + 4]  # 4: type and class
            is_test_point = name.startswith("2.0.0.127.")  # of a DNS list: it always names this one (RFC 5782, 5)
            server.sendto(query[:2] + (FOUND + asked + LISTED if is_test_point else NO_SUCH_NAME + asked), client)


def _name(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends (RFC 1035, 4.1.2)."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return ".".join(labels), at + 1
