"""A target as plain JSON, so that a worker starts from the object and never parses the text again."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from scans.core.types import Target, TargetKind


def spec_from_target(target: Target) -> dict[str, Any]:
    """The JSON form."""
    return {
        "kind": target.kind,
        "text": target.text,
        "host": target.host,
        "address": target.host if target.address else None,  # which is written the same way
        "port": target.port,
        "scheme": target.scheme,
        "path": target.path,
        "notes": list(target.notes),
    }


def target_from_spec(spec: Mapping[str, Any]) -> Target:
    """The target again."""
    return Target(
        kind=TargetKind(spec["kind"]),
        text=spec["text"],
        host=spec["host"],
        address=ip_address(spec["address"]) if spec["address"] else None,
        port=spec["port"],
        scheme=spec["scheme"],
        path=spec["path"],
        notes=tuple(spec["notes"]),
    )
