"""How the tests ask a source over HTTP: a sample is a stored reply, the addresses it answers for, and what it becomes.

A source is under all of these tests as soon as a sample lies in `samples/<its name>/`:

    {"status": 200, "headers": {…}, "body": …,     the reply; a body that is a text is sent as it stands
     "asked": ["203.0.113.10"],                    in one request
     "becomes": [{"state": "ok", "facts": {…}}]}   a result for each; "reason" and "resets_in_seconds" where they matter
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from scans.core.egress import Egress
from scans.core.intel import SOURCES, Consultation, RemoteSource, consult
from scans.core.intel.base import KeyUse, SourceSettings
from scans.core.options import IntelOptions, Options
from scans.core.types import IPAddress
from tests.fakes import Answer
from tests.patience import PATIENCE

SAMPLES = Path(__file__).parent / "samples"
KEY = "canary-key-0123456789"


@dataclass(frozen=True)
class Sample:
    """One stored reply of a source."""

    name: str  # greynoise/riot_benign
    kind: type[RemoteSource]
    answer: Answer
    body: Any
    asked: tuple[IPAddress, ...]
    becomes: tuple[dict[str, Any], ...]

    @property
    def is_good(self) -> bool:
        """Whether it tells something."""
        return self.becomes[0]["state"] == "ok"


@cache
def samples() -> tuple[Sample, ...]:
    """All that say what they become, source by source."""
    remote = [kind for kind in SOURCES if issubclass(kind, RemoteSource)]
    files = [(kind, path) for kind in remote for path in sorted((SAMPLES / kind.name).glob("*.json"))]
    stored = [(kind, path, json.loads(path.read_text())) for kind, path in files]
    return tuple(
        Sample(
            name=f"{kind.name}/{path.stem}",
            kind=kind,
            answer=Answer(status=said["status"], headers=said["headers"], body=_body(said["body"])),
            body=said["body"],
            asked=tuple(map(ip_address, said["asked"])),
            becomes=tuple(said["becomes"]),
        )
        for kind, path, said in stored
        if isinstance(said, dict) and "becomes" in said
    )


def good_samples() -> list[Sample]:
    """One of each source, the first that tells something."""
    return list({sample.kind: sample for sample in reversed(samples()) if sample.is_good}.values())[::-1]


def ask(kind: type[RemoteSource], addresses: Sequence[IPAddress], url: str, **options: Any) -> Consultation:
    """Ask the service at `url`, with a key if the source takes one."""
    patient = {"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE}
    intel = IntelOptions(**{**patient, **options})
    source = kind(SourceSettings(base_url=url, key="" if kind.key is KeyUse.NONE else KEY))
    return consult(source, addresses, Egress(Options(intel=intel), source.services), intel)


def _body(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
