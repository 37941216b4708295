"""Right and wrong: what a scanner said of every port, against the truth table."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.lab.truth import Workload, ports_of

KINDS = ("missed", "false_open", "closed_as_filtered", "filtered_as_closed", "unsaid")


def score(found: dict[str, dict[int, str]], workload: Workload) -> dict[str, Any]:
    """How many ports there were of each kind, and how many of each mistake.

    A port that answers with ICMP may be called closed or filtered, and so may those of a host that shuts its door in
    mid-scan, since what they are cannot be found out.
    """
    ports, counted = ports_of(workload["ports"]), Counter(dict.fromkeys(("true_open", "true_closed", *KINDS), 0))
    for address, host in workload["hosts"].items():
        said, exceptions = (
            found.get(address, {}),
            {**dict.fromkeys(host["filtered"], "filtered"), **dict.fromkeys(host["unreach"])},
        )
        opened = ports if host["default"] == "open" else host["open"]
        exceptions |= dict.fromkeys(opened, "open")
        default = None if host.get("limit") == "ban" else host["default"]
        for port in ports:
            counted.update(_judge(exceptions.get(port, default), said.get(port), is_banning=host.get("limit") == "ban"))
    return dict(counted)


def _judge(true: str | None, said: str | None, *, is_banning: bool) -> list[str]:
    kinds = ["unsaid"] if said is None else []
    if true == "open":
        kinds += ["true_open"] if not is_banning else []
        return [*kinds, "missed"] if said != "open" and not is_banning else kinds
    if said == "open":
        kinds.append("false_open")
    if true == "closed":
        kinds += ["true_closed", "closed_as_filtered"] if said == "filtered" else ["true_closed"]
    if true == "filtered" and said == "closed":
        kinds.append("filtered_as_closed")
    return kinds
