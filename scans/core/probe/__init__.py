"""Addresses and ports to port states: an unprivileged TCP connect engine in one thread.

    HostPlan ─► ProbeEngine.submit ─► Host ─► Rotation ─► SocketPool ─► kernel
                     (any thread)       ▲     whose turn     connect()     │ SYN-ACK, RST, ICMP, or nothing
                                        │                                  ▼
    HostResult ◄─ ProbeEngine.run ◄─── settle ◄────────────── poller, then TimerWheel

`engine.py` is the loop; the others hold one idea each: `plans.py` what goes in and out, `feed.py` plans that are pulled one
by one, `inbox.py` what other threads touch, `host.py` the state of one host, `rotation.py` whose turn it is, `window.py` how
many may be in flight, `pacing.py` the rate, `patience.py` how long to wait and how often to ask, `restraint.py` hosts that
limit rates, `controls.py` those that answer on every port, `kept.py` open connections for the next stage, `wheel.py` timers,
`sockets.py` sockets and what their errors mean, `network.py` what is needed of the system, `one_shot.py` where there is no
epoll, `budgets.py` the limits, `grants.py` a rate shared with other processes.
"""

from scans.core.probe.engine import ProbeEngine
from scans.core.probe.plans import EngineClosedError, HostPlan, HostResult, ProbeStats

__all__ = ["EngineClosedError", "HostPlan", "HostResult", "ProbeEngine", "ProbeStats"]
