"""The tags of a host's findings: what was verified, what is inferred, and what is known to be exploited."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from scans.core.types import Facts
from tests.factories import (
    END_OF_LIFE,
    SELF_SIGNED,
    VULNERABILITIES,
    make_address,
    make_report,
    make_result,
    make_service,
    make_source,
)
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db


def tags(client, address) -> dict[str, list[str]]:
    """By rule, the words of its tags on the host's page."""
    row = make_result(make_report("127.66.0.1", address))
    page = client.get(row.get_absolute_url()).content.decode()
    found = re.findall(r'id="f-([A-Z0-9-]+)".*?<h3[^>]*>(.*?)</h3>', page, re.DOTALL)
    return {rule: [text_of(tag) for tag in re.findall(r'<span class="tag.*?</span>', title)] for rule, title in found}


def test_a_port_is_verified_only_by_a_service_that_is_what_the_port_promises(client):
    seen = tags(
        client,
        make_address(
            open_ports=[2222, 3389],
            services=[
                make_service(22, "SSH", product="OpenSSH", version="9.2p1"),
                make_service(6379, "Redis", access="PING answered PONG"),
                make_service(5432, "HTTP"),
                make_service(9200, "HTTP", product="Elasticsearch"),
                make_service(3306),
            ],
        ),
    )
    assert seen["EXP-001"] == ["verified"]
    assert seen["EXP-002"] == ["verified on 22", "inferred from the port number on 2222"]
    assert seen["EXP-003"] == ["inferred from the port number"]
    assert seen["EXP-008"] == ["inferred from the port number"], (
        "HTTP answered on a database's port, and another said nothing"
    )
    assert seen["EXP-009"] == ["verified"]
    assert seen["ACC-001"] == ["verified"]


def test_what_follows_from_versions_or_from_others_says_so(client):
    facts = Facts(is_tor_exit=True, is_proxy=True)
    address = make_address(
        services=[make_service(443, "HTTP", is_tls=True, tls=SELF_SIGNED)], sources=[make_source(facts=facts)]
    )
    seen = tags(client, replace(address, vulnerabilities=VULNERABILITIES, end_of_life=END_OF_LIFE))
    assert seen["VUL-001"] == ["known exploited", "inferred from the version"]
    assert seen["VUL-002"] == seen["VUL-003"] == seen["VUL-004"] == ["inferred from the version"]
    assert seen["TLS-001"] == seen["TLS-004"] == ["verified"]
    assert seen["REP-006"] == ["told by others"]


def test_a_rule_that_is_gone_has_no_tag(client, settings):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22])))
    row.verdict["findings"][0]["rule_id"] = "OLD-001"
    row.save()
    page = client.get(row.get_absolute_url()).content.decode()
    title = re.search(r'id="f-OLD-001".*?<h3[^>]*>(.*?)</h3>', page, re.DOTALL)[1]
    assert 'class="tag' not in title
