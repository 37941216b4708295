"""The kill loop: the whole program at work, and a seeded hand that kills its processes one after the other.

    submit ─► rows ─► workers of the real stack ─► final writes, counted by the ledger's triggers
                         ▲               ▲
       every 0.5 to 3 s: kill -9   whenever one holds a poison target: kill -9
       sometimes: a job is cancelled, deleted, or what was cancelled of it is scanned again

The hand deals the roles like cards, so that each has its turn: a role that nobody plays right now goes to the bottom of the
deck, which is dealt to its end before there is a new one. A killed supervisor is started again, as systemd would.
"""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import threading
import time
from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import psycopg

from tests.chaos.ground import Ports, ground
from tests.chaos.ledger import Ledger
from tests.chaos.roles import Roles, kill
from tests.cluster import descendants, has_ended
from tests.patience import PATIENCE
from tests.stack import Stack, becomes, free_port

ROLES = (
    "busy worker", "idle worker", "all workers", "monitor", "pusher", "guard", "cluster", "supervisor", "web", "busy worker",
)  # fmt: skip
HEADS = ("guard", "cluster", "supervisor")  # whoever kills them kills all below
WORKERS = 2
MOST_MISSES = 30  # of one role: then the test does not know any more who plays it
ENOUGH_OPEN = 250  # targets; below that another job is submitted
DARK_EVERY = 4  # jobs: one has a silent port on every target, which then takes a second; the others are large and quick
MEDDLE_EVERY = 3  # rounds, at random: somebody does the next of DEEDS to a job
DEEDS = ("cancel", "rerun", "delete")
POISON = {"127.13.": "gave_up", "127.14.": "unreadable_target", "127.15.": "not_stored"}  # and the error it ends with
TARGETS = "127.{a}.{b}.0-127.{a}.{b}.{last}"

# 127.13: whoever holds it is killed. 127.14: its stored form cannot be read. 127.15: the database refuses its report.
SPOIL_ON_SQLITE = (
    """CREATE TRIGGER chaos_unreadable AFTER INSERT ON scans_targetresult WHEN NEW.target LIKE '127.14.%'
    BEGIN UPDATE scans_targetresult SET spec = '{}' WHERE id = NEW.id; END""",
    """CREATE TRIGGER chaos_refused BEFORE UPDATE ON scans_targetresult
    WHEN NEW.target LIKE '127.15.%' AND NEW.state = 'done' BEGIN SELECT RAISE(ABORT, 'refused by this test'); END""",
)
SPOIL_ON_POSTGRES = (
    "CREATE FUNCTION chaos_spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.spec := '{}'; RETURN NEW; END $$",
    """CREATE TRIGGER chaos_unreadable BEFORE INSERT ON scans_targetresult FOR EACH ROW WHEN (NEW.target LIKE '127.14.%')
    EXECUTE FUNCTION chaos_spoil()""",
    """CREATE FUNCTION chaos_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'refused by this test' USING ERRCODE = 'check_violation'; END $$""",
    """CREATE TRIGGER chaos_refused BEFORE UPDATE ON scans_targetresult FOR EACH ROW
    WHEN (NEW.target LIKE '127.15.%' AND NEW.state = 'done') EXECUTE FUNCTION chaos_refuse()""",
)


@dataclass(kw_only=True)
class Story:
    """What happened."""

    kills: list[tuple[str, float]] = field(default_factory=list)  # role, time
    poison_kills: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)  # tokens that were answered with 202
    cancelled: list[str] = field(default_factory=list)  # of them, those whose cancelling was answered with 202
    doomed: list[str] = field(default_factory=list)  # whose deletion was asked for, and perhaps not answered
    deleted: list[str] = field(default_factory=list)  # whose deletion was answered with 204
    reruns: list[tuple[str, str]] = field(default_factory=list)  # of a cancelled one, and the new job
    orphans: list[str] = field(default_factory=list)
    seconds: float = 0
    logs: list[Path] = field(default_factory=list)

    @property
    def kills_by_role(self) -> Counter[str]:
        """How often each was killed; of "all workers", once for all."""
        return Counter(role for role, _ in self.kills)

    def resumes(self, writes: list[float]) -> list[float]:
        """Seconds from a kill that touches the scanning to the next result; of kills in a row, from the last one."""
        at = sorted([when for role, when in self.kills if role != "web"] + self.poison_kills)
        found = {}
        for when in at:
            after = bisect_right(writes, when)
            if after < len(writes):
                last = at[bisect_right(at, writes[after]) - 1]
                found[last] = writes[after] - last
        return sorted(found.values())


class KillLoop:
    """One run."""

    def __init__(self, directory: Path, ledger: Ledger, *, seed: int) -> None:
        self.ledger = ledger
        self.story = Story()
        self._directory = directory
        self._random = random.Random(seed)
        self._deck: list[str] = []
        self._misses: Counter[str] = Counter()
        self._roles = Roles(WORKERS)
        self._environment = {**ledger.environment, "PORT": str(free_port()), "Q_WORKERS": str(WORKERS)}
        self._jobs = 0
        self._deeds = 0
        self._ended = threading.Event()
        self.stack = self._start()

    def run(self, kills: int) -> Story:
        """Kill so often, then wait until nothing is left to do. The stack is stopped whatever happens."""
        began = time.monotonic()
        poisoner = threading.Thread(target=self._kill_holders_of_poison, daemon=True)
        try:
            assert becomes(self.stack.is_ready), self.stack.text()
            self._prepare_database()
            poisoner.start()
            with ground() as ports:
                while len(self.story.kills) < kills:
                    self._keep_up(ports)
                    time.sleep(self._random.uniform(0.5, 3))
                    self._meddle()
                    self._kill_one()
                self._keep_up(ports)
                assert becomes(self.ledger.is_all_done, seconds=2 * PATIENCE), self.stack.text()[-4000:]
            self.story.seconds = time.monotonic() - began
            self.stack.stop()
            self._count_orphans("stop", list(self.stack.descendants()))
        finally:
            self._ended.set()
            self.stack.kill()
        return self.story

    def _prepare_database(self) -> None:
        self.ledger.count_from_now()
        for statement in SPOIL_ON_POSTGRES if self.ledger.url else SPOIL_ON_SQLITE:
            self.ledger.change(statement)

    def _start(self) -> Stack:
        stack = Stack(self._directory / "data", **self._environment)
        self.story.logs.append(stack.output)
        return stack

    def _keep_up(self, ports: Ports) -> None:
        """A supervisor that runs, and enough work."""
        if self.stack.process.poll() is not None:
            self.stack = self._start()
        if self.ledger.open_targets() < ENOUGH_OPEN:
            self._submit(ports)

    def _submit(self, ports: Ports) -> None:
        """One job; the first holds the poison. If the web server is down or dies meanwhile, the next round tries again."""
        is_dark = self._jobs % DARK_EVERY == 0
        targets = [TARGETS.format(a=20 + self._jobs // 200, b=self._jobs % 200, last=59 if is_dark else 199)]
        if self._jobs == 0:
            targets += [f"{network}0.{n}" for network in POISON for n in (1, 2)]
        with suppress(OSError, HTTPException, AssertionError):
            self.story.accepted.append(self.stack.scan(ip_addresses=targets, ports=ports.all if is_dark else ports.quick))
            self._jobs += 1

    def _meddle(self) -> None:
        """Now and then, with a job other than the first, which holds the poison; just before a kill."""
        if self._random.randrange(MEDDLE_EVERY):
            return
        story, deed = self.story, DEEDS[self._deeds % len(DEEDS)]
        left = [token for token in story.accepted[1:] if token not in (*story.cancelled, *story.doomed)]
        tokens = {"cancel": left[-2:], "delete": left[-2:], "rerun": [t for t in story.cancelled if t not in story.doomed]}
        if tokens[deed]:
            with suppress(OSError, HTTPException):  # the web server may be dead, or die meanwhile
                self._deeds += self._do(deed, self._random.choice(tokens[deed]))

    def _do(self, deed: str, token: str) -> bool:
        """Whether it was done. A job may have ended before it could be cancelled."""
        if deed == "delete":
            self.story.doomed.append(token)
            self.story.deleted += [token] * (self.stack.request("DELETE", f"/scan/{token}").status == 204)
            return token in self.story.deleted
        if deed == "cancel":
            self.story.cancelled += [token] * (self.stack.request("POST", f"/scan/{token}/cancel").status == 202)
            return token in self.story.cancelled
        reply = self.stack.request("POST", f"/scan/{token}/rerun?only=failed")
        if reply.status != 202:
            return False
        again = json.loads(reply.text)["token"]
        self.story.reruns.append((token, again))
        self.story.accepted.append(again)
        return True

    def _kill_one(self) -> None:
        """The next role. After a death it may take some seconds until somebody plays it again."""
        self._deck = self._deck or self._random.sample(ROLES, len(ROLES))
        role = self._deck.pop()
        pids: list[int] = []
        becomes(lambda: pids.extend(self._players(role)) or pids, seconds=8)
        below = [pid for head in pids for pid in descendants(head)] if role in HEADS else []
        if kill(*pids):
            self.story.kills.append((role, time.time()))
        else:
            self._misses[role] += 1
            assert self._misses[role] < MOST_MISSES, f"there is no {role} to kill"
            self._deck.insert(0, role)
        self._count_orphans(role, below)

    def _players(self, role: str) -> list[int]:
        found = self._roles.look(self.stack)
        workers = found["worker"]
        if role == "all workers":
            return workers
        busy = set(self.ledger.holders())
        players = {
            "busy worker": [pid for pid in workers if pid in busy],
            "idle worker": [pid for pid in workers if pid not in busy],
        }.get(role, found.get(role, []))
        return self._random.sample(players, min(1, len(players)))

    def _count_orphans(self, role: str, pids: list[int]) -> None:
        becomes(lambda: all(map(has_ended, pids)), seconds=60)
        self.story.orphans += [f"{pid} after {role}" for pid in pids if not has_ended(pid)]

    def _kill_holders_of_poison(self) -> None:
        """By what the rows say: the program knows nothing of poison."""
        killed: set[int] = set()  # the rows name a dead process until its lease is ended
        while not self._ended.wait(0.03):
            with suppress(sqlite3.OperationalError, psycopg.OperationalError):  # busy: looked at again in a moment
                found = set(self.ledger.holders("t.target LIKE '127.13.%'")) - killed
                found &= set(descendants(self.stack.process.pid))  # nobody who has got the number of a dead one
                if kill(*found):
                    self.story.poison_kills.append(time.time())
                killed |= found


def percentile(values: list[float], percent: int) -> float:
    """Of some measurements; 0 without any."""
    if len(values) < 2:
        return max(values, default=0)
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
