"""Names whose answers change or lie: a DNS server of our own, and a canary on the loopback that must see nothing."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import ip_address, ip_network

import pytest

from scans.core import pipeline
from scans.core.options import LOOPBACK, IntelOptions, Options, ProbeOptions, ResolveOptions, ScopeOptions
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Outcome, Report
from tests.name_servers import AAAA, A, dns_server
from tests.patience import PATIENCE
from tests.servers import public

TRIES = 1000
PUBLIC = public(77)  # stands for a public address; all other loopback is out of scope here
SCOPE = ScopeOptions(treat_as_global=(ip_network("127.66.0.0/16"),))
OFFLINE = IntelOptions(offline=True)


class Listeners:
    """One port on the "public" address, and a canary on the same port of everything else that is this machine."""

    def __init__(self, pulled: ExitStack) -> None:
        self.port, self._servers = 0, {}
        for address in ("127.0.0.1", "::1", PUBLIC):
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            pulled.enter_context(server)
            server.bind((address, self.port))
            server.listen(4096)
            server.setblocking(False)
            self.port = server.getsockname()[1]
            self._servers[address] = server

    def seen(self) -> Counter[str]:
        """How many came to each address. They wait in the kernel's queue until somebody asks, so none is missed."""
        found: Counter[str] = Counter()
        for address, server in self._servers.items():
            try:
                while True:
                    server.accept()[0].close()
                    found[address] += 1
            except BlockingIOError:
                continue
        return found


@contextmanager
def listeners() -> Iterator[Listeners]:
    with ExitStack() as stack:
        yield Listeners(stack)


def scan(monkeypatch, lookup: Callable[[str], Sequence[str]], hosts: Sequence[str], port: int, scope=SCOPE) -> list[Report]:
    resolver = partial(pipeline.Resolver, lookup=lookup)
    monkeypatch.setattr(pipeline, "Resolver", resolver)  # the pipeline itself always asks the system
    resolve = ResolveOptions(timeout_seconds=PATIENCE)
    options = Options(scope=scope, probe=ProbeOptions(rate_per_second=0), resolve=resolve, intel=OFFLINE)
    items = [Item(key=n, target=parse_target(host), ports=(port,)) for n, host in enumerate(hosts)]
    found = dict(pipeline.scan(items, Tools(options=options)))
    monkeypatch.undo()
    assert all(isinstance(report, Report) for report in found.values())
    return [found[n] for n in range(len(hosts))]


# How each kind of name answers: `asked` counts the questions for one name and family, from 0.
KINDS: dict[str, Callable[[int, int], Sequence[str]]] = {
    "flip": lambda kind, asked: [] if kind == AAAA else [PUBLIC] if asked == 0 else ["127.0.0.1"],
    "flop": lambda kind, asked: [] if kind == AAAA else ["127.0.0.1"] if asked == 0 else [PUBLIC],
    "mixed": lambda kind, asked: [] if kind == AAAA else [PUBLIC, "127.0.0.1"],
    "mixed-late": lambda kind, asked: [] if kind == AAAA else [*[PUBLIC] * 20, "127.0.0.1"],
    "both": lambda kind, asked: ["::1"] if kind == AAAA else [PUBLIC],
    "zero": lambda kind, asked: [] if kind == AAAA else ["0.0.0.0"],
    "mapped": lambda kind, asked: ["::ffff:127.0.0.1"] if kind == AAAA else [PUBLIC],
    "nat64": lambda kind, asked: ["64:ff9b::7f00:1"] if kind == AAAA else [],
    "6to4": lambda kind, asked: ["2002:7f00:1::1"] if kind == AAAA else [PUBLIC],
    "metadata": lambda kind, asked: [] if kind == AAAA else ["169.254.169.254"],
    "metadata6": lambda kind, asked: ["fd00:ec2::254"] if kind == AAAA else [PUBLIC],
    "private": lambda kind, asked: [] if kind == AAAA else [PUBLIC, "10.0.0.1"],
    "chain": lambda kind, asked: [] if kind == AAAA else ["a.invalid", "b.invalid", "127.0.0.1"],
    "chain-public": lambda kind, asked: [] if kind == AAAA else ["a.invalid", "b.invalid", PUBLIC],
    "chain-cut": lambda kind, asked: [] if kind == AAAA else ["end.invalid"],  # the rest must be asked for
}
IN_SCOPE = {"flip", "chain-public"}


def scripted() -> tuple[Callable[[str, int], Sequence[str]], Counter[tuple[str, int]]]:
    asked: Counter[tuple[str, int]] = Counter()

    def script(name: str, kind: int) -> Sequence[str]:
        if name == "end.invalid":
            return ["127.0.0.1"] if kind == A else []
        asked[name, kind] += 1
        return KINDS[name.split(".")[1]](kind, asked[name, kind] - 1)

    return script, asked


def names(count: int) -> list[str]:
    kinds = list(KINDS)
    return [f"host-{n}.{kinds[n % len(kinds)]}.invalid" for n in range(count)]


def test_in_a_thousand_tries_no_answer_leads_to_the_canary(monkeypatch):
    script, asked = scripted()
    hosts = names(TRIES)
    with listeners() as machine, dns_server(script) as lookup:
        reports = scan(monkeypatch, lookup, hosts, machine.port)
        seen = machine.seen()
    for host, report in zip(hosts, reports, strict=True):
        kind = host.split(".")[1]
        assert (report.outcome is Outcome.DONE) == (kind in IN_SCOPE), (host, report.error)
        if kind in IN_SCOPE:
            assert [str(address.address) for address in report.addresses] == [PUBLIC]
            assert report.addresses[0].probes[0].state == "open"
        else:
            assert report.error_code == "refused_scope", (host, report.error)
    assert set(seen) == {PUBLIC}  # more than once each: the probe, and whoever asks what the service is
    assert seen[PUBLIC] > sum(host.split(".")[1] in IN_SCOPE for host in hosts)
    assert set(asked.values()) == {1}  # each name once: what was judged is what is connected to


def test_a_name_that_has_flipped_is_refused_the_next_time(monkeypatch):
    script, _ = scripted()
    hosts = [f"host-{n}.flip.invalid" for n in range(20)]
    with listeners() as machine, dns_server(script) as lookup:
        first = scan(monkeypatch, lookup, hosts, machine.port)
        machine.seen()
        second = scan(monkeypatch, lookup, hosts, machine.port)
        assert machine.seen() == {}
    assert {report.outcome for report in first} == {Outcome.DONE}
    assert {report.error_code for report in second} == {"refused_scope"}


def test_the_canary_does_see_who_comes_where_the_loopback_is_allowed(monkeypatch):
    script, _ = scripted()
    hosts = ["host.flop.invalid", "host.both.invalid", "host.chain.invalid", "host.chain-cut.invalid"]
    with listeners() as machine, dns_server(script) as lookup:
        scan(monkeypatch, lookup, hosts, machine.port, ScopeOptions(allow=LOOPBACK))
        seen = machine.seen()
    assert set(seen) == {"127.0.0.1", "::1", PUBLIC}
    assert seen["127.0.0.1"] >= 3


@pytest.mark.parametrize("denied", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("beside", [(), (PUBLIC,)])
def test_a_pinned_address_is_judged_again_when_its_target_goes_on(denied, beside):
    """The operator may have denied it since, or somebody may have written to the database."""
    with listeners() as machine:
        known = {ip_address(text): () for text in (*beside, denied)}
        item = Item(key=0, target=parse_target("x.invalid"), ports=(machine.port,), known=known)
        ((_, report),) = pipeline.scan([item], Tools(options=Options(scope=SCOPE, intel=OFFLINE)))
        assert machine.seen() == {}
    assert isinstance(report, Report)
    assert (report.outcome, report.error_code) == (Outcome.REFUSED, "refused_scope")
