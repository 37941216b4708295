"""The same evidence gives the same bytes: in another process, with other hashes, on another day, in another language."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import scans.core.risk
from tests.core.risk.test_worked_addresses import HOSTS

ROOT = Path(__file__).resolve().parents[3]
NO_RISK_OF = {"time", "datetime", "random", "locale", "os", "secrets", "uuid", "socket"}
# All worked hosts, by the built-in rules and by some of an operator's, on a day that is so many days away.
RATE_ALL = """
import datetime, sys, time
days = int(sys.argv[1])
now, real = time.time, datetime.datetime
time.time = lambda: now() + days * 86400
class Moved(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(days=days)
datetime.datetime = Moved
import json
from scans.core.risk import rate
from scans.core.risk.operators import lay_over
from scans.core.wire import verdict_dict
from tests.core.risk.test_worked_addresses import HOSTS, evidence_of
own = lay_over("disable: [EXP-002]\\nrules:\\n - {id: EXP-008, points: 31, cap: 60}\\n")
assert real.now().date() != datetime.datetime.now().date() or not days
for host in HOSTS:
    for pack in (None, own):
        print(json.dumps(verdict_dict(rate(evidence_of(host), pack))))
"""


def rated(*, hash_seed: str, days: int, language: str) -> bytes:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": language, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", RATE_ALL, str(days)], cwd=ROOT, env=env, capture_output=True, timeout=100, check=True
    )
    return ended.stdout


def test_the_same_evidence_gives_the_same_bytes_wherever_and_whenever():
    today = rated(hash_seed="0", days=0, language="C.UTF-8")
    assert today.count(b"\n") == 2 * len(HOSTS)
    assert rated(hash_seed="1", days=400, language="C") == today
    assert rated(hash_seed="4242", days=-4000, language="de_DE.UTF-8") == today


def test_nothing_in_the_rules_can_see_a_clock_or_throw_dice():
    for file in Path(scans.core.risk.__file__).parent.glob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        nodes = ast.walk(ast.parse(file.read_text()))
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not {name.partition(".")[0] for name in names} & NO_RISK_OF, file.name
