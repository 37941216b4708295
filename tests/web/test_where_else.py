"""From a host to all hosts that have the same: its services, certificates and findings lead to the history."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from scans.web.search import parse_search, search_text
from tests.factories import SELF_SIGNED, make_address, make_report, make_result, make_service, make_services

pytestmark = pytest.mark.django_db


def links_of(page: str) -> dict[str, str]:
    """Addresses by text."""
    return {
        unescape(text): unescape(url)
        for url, text in re.findall(r'<a class="else" href="([^"]*)"[^>]*><bdi>(.*?)</bdi>', page)
    }


def test_every_link_of_a_host_leads_back_to_its_job(client):
    row = make_result(make_report("127.66.0.1", make_address(services=make_services())))
    links = links_of(client.get(row.get_absolute_url()).content.decode())
    assert {"SSH", "OpenSSH 9.2p1", "nginx 1.24.0", "Redis", "old-shop.invalid", "ACC-001", "EXP-001"} <= set(links)
    for url in links.values():
        found = client.get(url)
        assert found.status_code == 200
        assert row.get_absolute_url() in found.content.decode(), url


def test_hostile_words_lead_to_a_search_or_nowhere(client):
    said = ['a"b', '"', "x" * 300, "Server version: 1 finding:", "<b>&amp;", "a\u202eb", "  "]
    names = ("a b.invalid", "x" * 240 + ".invalid", "*.invalid", "*.", "-", '".invalid', "service:x.invalid")
    services = [
        make_service(n, "HTTP", product=text, is_tls=True, tls=replace(SELF_SIGNED, names=names))
        for n, text in enumerate(said, start=1)
    ]
    row = make_result(make_report("127.66.0.1", make_address(services=services)))
    page = client.get(row.get_absolute_url()).content.decode()
    assert "<b>&amp;" not in page
    links = links_of(page)
    assert {'a"b', "Server version: 1 finding:", "<b>&amp;", "a b", "*.invalid", "service:x.invalid"} <= set(links)
    assert not {'"', "x" * 300, "a b.invalid", "*."} & set(links)
    for text, url in links.items():
        assert row.get_absolute_url() in client.get(url).content.decode(), text


@pytest.mark.parametrize("said", ["nginx 1.24.0", "a: b", "service:redis", 'a"b:c', "  x  ", "https://x"])
def test_a_link_asks_for_what_was_said(said):
    assert parse_search(search_text("product", said)) == ("", {"product": said.partition('"')[0].strip()})
