"""Commands to copy: they ask the right thing, and nothing that came from outside is more than one word of them."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from scans.core.types import Report
from scans.core.wire import evidence_dict
from scans.templatetags.host_commands import commands
from tests.factories import SELF_SIGNED, make_address, make_report, make_service

STATUS_URL = "http://127.0.0.1:8000/scan/" + "0" * 32


def lines(report: Report) -> list[str]:
    row = SimpleNamespace(evidence=evidence_dict(report))
    return [command.text for command in commands(row, STATUS_URL)]


def test_an_address_with_open_ports():
    assert lines(make_report("127.66.0.1", make_address(open_ports=[22, 443]))) == [
        "nmap -sT -Pn -sV -p 22,443 127.66.0.1",
        "curl -sSikg https://127.66.0.1/",
        "openssl s_client -connect 127.66.0.1:443 </dev/null",
        f"curl -sS {STATUS_URL}",
    ]


def test_a_name_is_asked_at_the_address_that_was_scanned():
    seen = make_address("2001:db8::7", open_ports=[8443])
    assert lines(make_report("https://shop.invalid:8443/a?b=1", seen))[:3] == [
        "nmap -6 -sT -Pn -sV -p 8443 2001:db8::7",
        "curl -sSikg --resolve 'shop.invalid:8443:[2001:db8::7]' 'https://shop.invalid:8443/a?b=1'",
        "openssl s_client -connect '[2001:db8::7]:8443' -servername shop.invalid </dev/null",
    ]


def test_what_is_known_of_the_services_decides_what_is_asked():
    ssh, plain = make_service(443, "SSH"), make_service(8443, "HTTP")
    web = make_service(9000, "HTTP", is_tls=True, tls=SELF_SIGNED)
    assert lines(make_report("127.66.0.1", make_address(services=[ssh, plain, web])))[1:3] == [
        "curl -sSikg http://127.66.0.1:8443/",
        "openssl s_client -connect 127.66.0.1:9000 </dev/null",
    ]
    assert lines(make_report("127.66.0.1", make_address(services=[ssh, web])))[1] == "curl -sSikg https://127.66.0.1:9000/"
    assert len(lines(make_report("127.66.0.1", make_address(services=[ssh])))) == 2, "neither speaks HTTP nor TLS"


def test_where_a_service_is_not_known_the_usual_one_is_asked():
    silent = make_service(443)
    assert lines(make_report("127.66.0.1", make_address(services=[silent])))[1:3] == [
        "curl -sSikg https://127.66.0.1/",
        "openssl s_client -connect 127.66.0.1:443 </dev/null",
    ]


def test_each_family_has_its_own_line():
    both = make_address("127.66.0.6", open_ports=[22]), make_address("2001:db8::7", open_ports=[80])
    assert lines(make_report("two.invalid", *both))[:2] == [
        "nmap -sT -Pn -sV -p 22 127.66.0.6",
        "nmap -6 -sT -Pn -sV -p 80 2001:db8::7",
    ]


def test_where_nothing_is_open_the_probed_ports_are_asked_again():
    assert lines(make_report("127.66.0.1", make_address(ports=(22, 80))))[:1] == ["nmap -sT -Pn -sV -p 22,80 127.66.0.1"]
    scattered = make_address(open_ports=range(1, 65_536, 2), ports=())
    assert lines(make_report("127.66.0.1", scattered))[0] == "nmap -sT -Pn -sV -p 1-65535 127.66.0.1"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=40))
def test_a_hostile_path_stays_one_word(path):
    try:
        report = make_report(f"http://shop.invalid/'$(id)`id`;id|{path}", make_address(open_ports=[80]))
    except ValueError:
        return  # not a target at all
    _, curl, *_ = lines(report)
    words = shlex.split(curl)
    assert words[:4] == ["curl", "-sSikg", "--resolve", "shop.invalid:80:127.66.0.1"]
    assert len(words) == 5
    assert words[4].startswith("http://shop.invalid/")


def test_a_path_that_is_a_command_is_quoted():
    _, curl, *_ = lines(make_report("http://shop.invalid/$(id);id", make_address(open_ports=[80])))
    assert curl.endswith(" 'http://shop.invalid/$(id);id'")
