"""Control questions: does a host with many open ports, or with all that were asked, answer on every port?

Some firewalls (SYN proxies) and tarpits accept each connection themselves. Such a host is asked on a few high ports at
random, where nobody expects a service: if all of them are open as well, then an open port says nothing about a service.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

MANY_OPEN = 10  # and at least half of all that were asked: then it is worth a question
LEAST_OPEN = 2  # if these are all that were asked; one port alone is what a target was asked for
CONTROL_COUNT = 4
HIGH_PORTS = range(20_000, 65_536)
NEARLY_ALL = 0.9  # of the planned ports, where the plan leaves no others to ask


def is_suspicious(*, open_count: int, asked_count: int) -> bool:
    """Whether so many are open that the host must be asked: many, or all of a few.

    A web server of which 80 and 443 were asked is asked as well. That costs four questions, and they clear it.
    """
    least = MANY_OPEN if asked_count > MANY_OPEN else max(LEAST_OPEN, asked_count)
    return open_count >= least and open_count * 2 >= asked_count


def control_ports(planned: Collection[int]) -> tuple[int, ...]:
    """High ports that were not planned; none if nearly all of them are."""
    left = set(HIGH_PORTS).difference(planned)
    return tuple(random.sample(sorted(left), CONTROL_COUNT)) if len(left) >= CONTROL_COUNT else ()


def answers_everywhere(controls: Sequence[bool], *, open_count: int, asked_count: int) -> bool:
    """The verdict, from which of the control ports were open."""
    return all(controls) if controls else open_count >= asked_count * NEARLY_ALL
