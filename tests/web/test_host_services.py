"""The services on a host's page: what each said, why it is not known, and nothing that a stranger wrote but as text."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scans.core.types import Cookie, HttpFacts, Service, ServiceState, Technology
from scans.models import TargetResult
from scans.templatetags.host_services import missing_headers, validity
from scans.templatetags.services import telling_words
from tests.factories import (
    CAREFUL_PAGE,
    CARELESS_PAGE,
    SELF_SIGNED,
    make_address,
    make_report,
    make_result,
    make_service,
    make_services,
)
from tests.web.policy import inline_parts
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x00\x1b[31mred\x1b[0m"


def host(*services: Service, **more) -> TargetResult:
    """A scanned host with these services."""
    return make_result(make_report("127.66.0.1", make_address(services=services, **more)))


@pytest.fixture
def block(client):
    """The block of a host's services, as it is sent."""

    def read(row: TargetResult) -> str:
        body = client.get(row.get_absolute_url()).content.decode()
        assert inline_parts(body) == []
        return body.split('id="svc-h1"')[1].split("</section>\n<section")[0]

    return read


@pytest.fixture
def words(block):
    """Its words."""
    return lambda row: text_of(block(row))


def row_of(text: str, port: int) -> str:
    """The words of one row, without its fold."""
    return text_of(re.search(rf'<tr id="svc-1-{port}">(.*?)</tr>', text, re.DOTALL)[1])


def pairs(text: str) -> dict[str, str]:
    """The facts in a fold: label and words."""
    found = re.findall(r"<div><dt>(.*?)</dt><dd.*?>(.*?)</dd></div>", text, re.DOTALL)
    return {label: text_of(value) for label, value in found}


# --- What it is, or why that is not known --------------------------------------------------------------------------


def test_a_known_service_says_protocol_product_and_version_and_what_it_showed(block):
    shown = block(host(*make_services(), open_ports=[8080]))
    assert row_of(shown, 22) == "22 /tcp SSH OpenSSH 9.2p1 SSH-2.0-OpenSSH_9.2p1 Debian-2 12 ms"
    assert row_of(shown, 80) == "80 /tcp HTTP nginx 1.24.0 200 Example shop: sign in 12 ms"
    assert row_of(shown, 443) == "443 /tcp HTTP TLS not said 301 to https://127.66.0.7/shop , then 200 12 ms"
    assert row_of(shown, 6379) == "6379 /tcp Redis not said answers without credentials PING answered PONG 12 ms"
    assert row_of(shown, 8080) == "8080 /tcp HTTP-Alt by custom not asked 12 ms"
    assert "6 of 8 open ports were asked what they are." in text_of(shown)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (ServiceState.UNRECOGNISED, "not recognised"),
        (ServiceState.SILENT, "said nothing"),
        (ServiceState.FAILED, "no answer"),
        (ServiceState.TIMED_OUT, "out of time"),
        (ServiceState.NOT_ASKED, "not asked"),
    ],
)
def test_what_is_not_known_has_a_state_a_reason_and_a_name_by_custom_only(block, state, word):
    shown = block(host(make_service(5432, state=state, reason="the reason why")))
    assert row_of(shown, 5432) == f"5432 /tcp PostgreSQL by custom {word} the reason why 12 ms"
    assert '<span class="state state--doubt">' in shown


def test_a_port_without_a_usual_service_is_given_none(block):
    assert row_of(block(host(make_service(40_000))), 40_000).startswith("40000 /tcp no usual service said nothing")


def test_the_source_and_the_time_are_plain(words):
    row = host(*make_services())
    short = host(make_service(22, "SSH"))
    short.evidence["finished_at"] = short.evidence["started_at"]
    short.save()
    assert re.search(r"themselves, \d+ \w+ \d+, [\d:]+ UTC\.", words(short)), "one moment is told once"
    started, finished = (datetime.fromisoformat(row.evidence[name]) for name in ("started_at", "finished_at"))
    text = words(row)
    said_at = f"{started:%-d %b %Y, %H:%M:%S} to {finished:%H:%M:%S} UTC"
    assert f"Said by the services themselves, {said_at}. Asked harmlessly, and never with credentials." in text
    assert f"Said by the service itself, {started:%H:%M:%S} to {finished:%H:%M:%S} UTC, within 61 ms" in text


def test_a_scan_of_before_services_were_asked_says_so_quietly(words, client):
    row = host(open_ports=[22, 6379])
    del row.evidence["addresses"][0]["services"]
    row.evidence["schema"] = 1
    row.save()
    text = words(row)
    assert "Named by custom: this scan did not ask what really answers there." in text
    assert "22 /tcp SSH by custom not asked 12 ms" in text
    assert "were asked what they are" not in text
    staff = User.objects.create_superuser("root", password="a-long-password-1")
    client.force_login(staff)
    admin = client.get(f"/admin/scans/targetresult/{row.pk}/change/").content.decode()
    assert "Services: not asked" in text_of(admin)


# --- Folds ---------------------------------------------------------------------------------------------------------


def test_the_fold_of_a_web_server_tells_status_headers_and_cookies(block):
    shown = block(host(make_service(80, "HTTP", http=CARELESS_PAGE)))
    assert "HTTP 200, 2 security headers missing" in text_of(shown)
    told = pairs(shown)
    assert told["Status"] == "200 OK"
    assert told["Server"] == "nginx/1.24.0"
    assert told["Missing"] == "CSP , frame-ancestors"
    assert told["Headers sent"] == "x-content-type-options nosniff"
    assert told["Cookies"] == "session not Secure, HttpOnly, no SameSite"
    assert told["Password field"] == "yes"
    assert "Icon hash" not in told
    made = (
        Technology(name="WordPress", version="6.4.2", sign="meta generator"),
        Technology(name="PHP", version=None, sign="cookie PHPSESSID"),
    )
    shown = block(host(make_service(80, "HTTP", http=replace(CARELESS_PAGE, technologies=made, favicon_hash=-12))))
    assert pairs(shown)["Made with"] == "WordPress 6.4.2 by meta generator"
    assert "PHP by cookie PHPSESSID" in text_of(shown)
    assert pairs(shown)["Icon hash"].startswith("-12 MurmurHash3")


def test_a_redirect_that_was_followed_and_a_reply_that_was_cut_say_so(block):
    told = pairs(block(host(make_service(443, "HTTP", is_tls=True, http=CAREFUL_PAGE, tls=SELF_SIGNED))))
    assert told["Followed"].startswith("https://127.66.0.7/shop 200 OK")
    assert told["Missing"] == "no security header"
    assert told["Title"] == "none"
    assert told["Text"] == "not read, or not HTML"
    assert told["Not seen"] == "the reply was cut by a limit; more may have followed"
    assert "Asked for" not in told
    own = replace(CAREFUL_PAGE, path="/shop?id=1")
    assert pairs(block(host(make_service(443, "HTTP", http=own))))["Asked for"] == "/shop?id=1"
    elsewhere = HttpFacts(status=302, location="https://other.invalid/")
    told = pairs(block(host(make_service(80, "HTTP", http=elsewhere))))
    assert told["Leads to"] == "https://other.invalid/ recorded, not followed"
    assert told["Missing"] == "not judged: this is no page for people"


@pytest.mark.parametrize("http", [CARELESS_PAGE, CAREFUL_PAGE, replace(CARELESS_PAGE, is_encrypted=True)])
def test_what_is_missing_is_what_the_rule_says(http, client):
    row = host(make_service(80, "HTTP", http=http))
    wired = client.get(row.job.get_absolute_url().replace("/jobs/", "/scan/")).json()["results"][0]
    missing = missing_headers(wired["addresses"][0]["services"][0]["http"])
    said = [finding["evidence"] for finding in wired["findings"] if finding["rule_id"] == "HDR-001"]
    assert said == ([f"Missing: {', '.join(missing)}"] if missing else [])


def test_the_fold_of_an_encrypted_service_tells_versions_and_certificate(block):
    shown = block(host(make_service(443, "TLS", is_tls=True, tls=SELF_SIGNED)))
    told = pairs(shown)
    assert told["Version"] == "TLS 1.3, TLS_AES_256_GCM_SHA384"
    assert told["Old versions"] == "TLS 1.1 accepted"
    assert told["Names"].startswith("old-shop.invalid , www.old-shop.invalid")
    assert told["Issuer"] == "CN=old-shop.invalid signed by itself"
    assert re.fullmatch(r"5 Jan 2026, 08:00:00 to 5 Jan 2046, 08:00:00 UTC, [\d,]+ days left when scanned", told["Valid"])
    assert told["Key, signature"] == "RSA 2048, sha256"
    assert told["SHA-256"] == SELF_SIGNED.fingerprint
    assert told["Problems"] == "self-signed"
    assert re.search(r"TLS 1\.3, certificate self-signed, [\d,]+ days left of port 443", text_of(shown))


@pytest.mark.parametrize(
    ("legacy", "shown"),
    [(None, "could not be asked"), ((), "TLS 1.0 and 1.1 refused"), (("TLSv1",), "TLS 1.0 accepted")],
)
def test_old_versions_that_could_not_be_asked_are_not_called_refused(block, legacy, shown):
    told = pairs(block(host(make_service(443, "TLS", is_tls=True, tls=replace(SELF_SIGNED, legacy_versions=legacy)))))
    assert told["Old versions"] == shown


def test_a_certificate_that_cannot_be_read_has_no_facts(block):
    bare = dict.fromkeys(("subject", "issuer", "not_before", "not_after", "key", "signature", "fingerprint"))
    unread = replace(SELF_SIGNED, **bare, names=(), names_count=0, problems=("unreadable certificate",))
    told = pairs(block(host(make_service(443, "TLS", is_tls=True, tls=unread))))
    assert told["Problems"] == "unreadable certificate"
    assert not {"Names", "Subject", "Valid", "SHA-256"} & told.keys()


def test_of_a_hundred_names_the_first_are_shown_and_the_others_counted(block):
    names = tuple(f"n{n}.invalid" for n in range(100))
    told = pairs(block(host(make_service(443, "TLS", tls=replace(SELF_SIGNED, names=names, names_count=3_000)))))
    assert told["Names"].endswith("no name was given to compare")
    assert "n11.invalid and 2988 more" in told["Names"]


@pytest.mark.parametrize(
    ("seen_at", "shown"),
    [
        ("2025-12-31T08:00:00Z", "begins 5 days later"),
        ("2046-01-04T08:00:00Z", "1 day left"),
        ("2046-01-05T07:00:00Z", "0 days left"),
        ("2046-02-05T08:00:00Z", "ended 31 days before"),
    ],
)
def test_days_are_counted_from_the_scan_and_not_from_today(seen_at, shown):
    tls = {"not_before": SELF_SIGNED.not_before.isoformat(), "not_after": SELF_SIGNED.not_after.isoformat()}
    assert validity(tls, seen_at).words == shown


def test_raw_bytes_stand_in_a_frame_with_a_name_and_only_their_line_ends_are_read(block):
    raw = r"HTTP/1.1 200 OK\x0d\x0aX: \x1b[31m\x5cx0a\x0d\x0a"
    shown = block(host(make_service(80, "HTTP", http=CARELESS_PAGE, evidence=raw)))
    frame = re.search(r'<pre class="evidence" tabindex="0" role="region" aria-label="(.*?)">(.*?)</pre>', shown, re.DOTALL)
    assert frame[1] == "First bytes from port 80"
    assert html.unescape(frame[2]) == "HTTP/1.1 200 OK\nX: \\x1b[31m\\x5cx0a\n"
    binary = r"J\x00\x00\x00\x0a8.0.36"
    assert f">{binary}</pre>" in block(host(make_service(3306, state=ServiceState.UNRECOGNISED, evidence=binary)))


# --- Strangers -----------------------------------------------------------------------------------------------------


def hostile_service(port: int) -> Service:
    """Everything that a service can say, hostile and too long."""
    long = HOSTILE + "x" * 10_000
    page = HttpFacts(
        status=999,
        location=HOSTILE,
        redirects=(HOSTILE,),
        title=long,
        server=long,
        powered_by=HOSTILE,
        content_type=f"text/html{HOSTILE}",
        security_headers=(("content-security-policy", long),),
        cookies=(Cookie(name=HOSTILE, is_secure=False, is_http_only=False, same_site=HOSTILE),),
    )
    certificate = replace(
        SELF_SIGNED,
        cipher=HOSTILE,
        subject=long,
        issuer=HOSTILE,
        names=(HOSTILE,),
        problems=(HOSTILE,),
        weaknesses=(HOSTILE,),
    )
    return make_service(
        port, "HTTP", product=HOSTILE, version=long, cpe=HOSTILE, banner=long, access=HOSTILE, http=page, tls=certificate,
        evidence=long,
    )  # fmt: skip


def test_whatever_a_service_says_is_shown_as_text(client):
    row = host(hostile_service(80), make_service(81, state=ServiceState.UNRECOGNISED, reason=HOSTILE, evidence=HOSTILE))
    host(hostile_service(80))  # a later one, so that the page compares
    body = client.get(row.get_absolute_url()).content.decode()
    assert "<script>alert" not in body
    assert body.count("&lt;script&gt;alert(1)") > 20
    assert not re.search("[\x00\x1b\u202e]", body)
    assert inline_parts(body) == []
    assert len(body) < 150_000


def test_eight_addresses_full_of_services_cost_no_more_queries_and_one_page(client):
    def seen(row: TargetResult) -> tuple[int, str]:
        client.get(row.get_absolute_url())
        with CaptureQueriesContext(connection) as asked:
            body = client.get(row.get_absolute_url()).content.decode()
        return len(asked), body

    few, _ = seen([host(*make_services()) for _ in range(2)][-1])
    full = [make_service(port, "HTTP", is_tls=True, http=CARELESS_PAGE, tls=SELF_SIGNED) for port in range(1, 33)]
    addresses = [make_address(f"127.66.0.{n}", services=full, open_ports=range(1, 1_000)) for n in range(1, 9)]
    many, body = seen([make_result(make_report("many.invalid", *addresses)) for _ in range(2)][-1])
    assert many == few
    assert body.count('class="services__more"') == 64
    assert "24 of these services said more than there is room for" in body
    assert len(body) < 650_000


def test_those_that_were_asked_are_shown_wherever_they_are(block):
    shown = block(host(make_service(60_000, "SSH", product="OpenSSH"), open_ports=range(1, 900), ports=()))
    assert row_of(shown, 60_000).startswith("60000 /tcp SSH OpenSSH")
    assert "Here are 128 of 900 open ports" in text_of(shown)
    assert "1 of 900 open ports were asked" in text_of(shown)


# --- In a few words ------------------------------------------------------------------------------------------------


def test_the_most_telling_words_come_first_and_once():
    known = [
        {"port": 22, "state": "identified", "protocol": "SSH", "product": "OpenSSH", "version": "9.2p1"},
        {"port": 25, "state": "identified", "protocol": "SMTP"},
        {"port": 80, "state": "identified", "protocol": "HTTP", "product": "nginx"},
        {"port": 81, "state": "silent", "reason": "it said nothing"},
        {"port": 443, "state": "identified", "protocol": "HTTP", "product": "nginx"},
        {"port": 6379, "state": "identified", "protocol": "Redis", "access": "PING answered PONG"},
    ]
    assert telling_words(known) == "Redis answers without credentials, OpenSSH 9.2p1, nginx and 1 more"
    product = {"port": 9200, "state": "identified", "protocol": "HTTP", "product": "Elasticsearch", "access": "it is named"}
    assert telling_words([product]) == "Elasticsearch answers without credentials"
    assert telling_words(known[:2]) == "OpenSSH 9.2p1, SMTP"
    assert telling_words(known[3:4]) == telling_words([]) == ""


def test_the_admin_lists_the_services_of_a_result_a_line_each(client):
    row = host(*make_services(), make_service(9_000, "HTTP", product=HOSTILE))
    client.force_login(User.objects.create_superuser("root", password="a-long-password-1"))
    body = client.get(f"/admin/scans/targetresult/{row.pk}/change/").content.decode()
    listed = [html.unescape(line) for line in re.findall(r"<div>(127\.66\.0\.1: .*?)</div>", body)]
    assert listed[:2] == ["127.66.0.1: 22 SSH, OpenSSH 9.2p1", "127.66.0.1: 80 HTTP, nginx 1.24.0"]
    assert "127.66.0.1: 443 HTTP over TLS" in listed
    assert "127.66.0.1: 6379 Redis, answers without credentials (PING answered PONG)" in listed
    assert "127.66.0.1: 8081 silent: it said nothing, whatever was tried" in listed
    assert "<script>alert" not in body


def test_a_certificate_of_tomorrow_is_not_called_ended(words):
    tomorrow = datetime.now(UTC) + timedelta(days=1, hours=1)
    early = replace(SELF_SIGNED, not_before=tomorrow, problems=("not yet valid",))
    assert "certificate not yet valid, begins 1 day later" in words(host(make_service(443, "TLS", is_tls=True, tls=early)))
