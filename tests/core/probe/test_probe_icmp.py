"""ICMP and routing errors, in a network namespace that lives as long as the test: needs root, unshare, ip and nft."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.patience import AGES

MISSING = [tool for tool in ("unshare", "ip", "nft", "sysctl") if not shutil.which(tool)]


@pytest.fixture(scope="module")
def found():
    if MISSING or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(MISSING) or 'nothing else'}")
    can_unshare = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    if can_unshare.returncode:
        pytest.skip(f"no network namespaces here: {can_unshare.stderr.strip()}")
    command = ["unshare", "--net", sys.executable, "-m", "tests.core.probe.icmp_scan"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=AGES)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)["found"]


@pytest.mark.parametrize(
    ("address", "port", "reason"),
    [
        ("127.0.0.1", 1001, "icmp type 3 code 3"),
        ("127.0.0.1", 1002, "icmp type 3 code 13"),
        ("127.0.0.1", 1003, "icmp type 3 code 1"),
        ("::1", 1011, "icmpv6 type 1 code 4"),
        ("::1", 1012, "icmpv6 type 1 code 1"),
        ("::1", 1013, "icmpv6 type 1 code 0"),
    ],
)
def test_an_icmp_refusal_is_unreachable_with_its_type_and_code_and_never_closed(found, address, port, reason):
    assert found[address][str(port)] == ["unreachable", reason, 1]


def test_silence_beside_icmp_is_still_silence(found):
    assert found["127.0.0.1"]["1004"] == ["filtered", "timeout", 2]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_ports_probed_on_the_same_sockets_afterwards_are_not_confused(found, address):
    assert found[address]["80"] == ["open", "syn-ack", 1]
    assert {tuple(found[address][str(port)]) for port in range(2000, 2200)} == {("closed", "conn-refused", 1)}


def test_a_socket_given_up_is_used_again_unless_a_message_is_left_in_its_error_queue(found):
    assert found["parked"] == {"1002": 0, "1004": 1}


def test_no_route_is_unreachable_and_what_the_machine_forbids_is_an_error(found):
    assert found["192.0.2.3"]["80"] == found["2001:db8::1"]["80"] == ["unreachable", "no-route", 1]
    assert found["192.0.2.2"]["80"] == ["unreachable", "no-route", 1]
    assert found["192.0.2.1"]["80"] == ["error", "EACCES", 1]


def test_a_zone_that_this_machine_does_not_have_is_an_error(found):
    assert found["fe80::1%nowhere"]["80"] == ["error", "EINVAL", 1]


def test_an_address_family_that_is_switched_off_is_an_error_in_the_end(found):
    assert found["disabled ::1"]["80"] == ["error", "EADDRNOTAVAIL", 0]
