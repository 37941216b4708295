"""The engine as it is on this system, and as it is where there is no epoll and no eventfd."""

from __future__ import annotations

import os
import selectors
from functools import partial

import pytest

from scans.core.probe import ProbeEngine
from scans.core.probe.network import Network
from scans.core.probe.one_shot import OneShotPoller
from tests.core.probe import driving

WITHOUT_EPOLL = Network(poller=partial(OneShotPoller, selectors.PollSelector))


@pytest.fixture(params=["epoll", "selectors"])
def each_poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the test twice: engines that are not given a network watch their sockets in one of the two ways."""
    if request.param == "selectors":
        monkeypatch.delattr(os, "eventfd")
        for takes_network in (ProbeEngine.__init__, driving.engine_for):
            monkeypatch.setitem(takes_network.__kwdefaults__, "network", WITHOUT_EPOLL)
