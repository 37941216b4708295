"""HTTP by bytes: what one page tells, which redirects are followed, and whatever a stranger may answer."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.conversation import Handshake
from scans.core.fingerprint.favicon import favicon_hash
from scans.core.fingerprint.http_reply import MAX_BODY_BYTES, MAX_HEADER_BYTES, dechunked, read_head
from scans.core.fingerprint.protocols.http import MAX_REDIRECTS, ask
from scans.core.types import Cookie, HttpFacts, ServiceState, Technology
from tests.core.fingerprint.talking import question, talk

TLS = Handshake(None, b"\x16\x03\x03", "TLSv1.3", "TLS_AES_256_GCM_SHA384", ())
OPEN = frozenset({80, 443, 6379, 9100, 12345})


def reply(*headers: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def page(body: str, *headers: str) -> bytes:
    return reply("Content-Type: text/html; charset=utf-8", *headers, body=body.encode())


def facts(*streams: bytes, **more) -> HttpFacts:
    service = talk(ask(question(**more)), *streams).service
    assert (service.state, service.protocol) == (ServiceState.IDENTIFIED, "HTTP")
    assert service.http is not None
    return service.http


def test_a_page_tells_its_title_its_server_and_its_headers():
    said = page(
        "<html><head><TITLE lang=en>\n Log in &amp; out </TITLE></head><input name=p type='password'>",
        "Server: nginx/1.22.1",
        "X-Powered-By: PHP/8.2.7",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'",
        "Set-Cookie: PHPSESSID=secret-value; path=/; HttpOnly; SameSite=Lax",
        "Set-Cookie: theme=dark; Secure",
    )
    service = talk(ask(question()), said).service
    assert (service.product, service.version) == ("nginx", "1.22.1")
    assert service.http == HttpFacts(
        status=200,
        path="/",
        title="Log in & out",
        server="nginx/1.22.1",
        powered_by="PHP/8.2.7",
        content_type="text/html; charset=utf-8",
        security_headers=(
            ("content-security-policy", "default-src 'self'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
        ),
        cookies=(
            Cookie(name="PHPSESSID", is_secure=False, is_http_only=True, same_site="Lax"),
            Cookie(name="theme", is_secure=True, is_http_only=False),
        ),
        has_password_field=True,
        lists_directory=False,
        technologies=(Technology(name="PHP", version="8.2.7", sign="header x-powered-by"),),
    )
    assert "secret-value" not in repr(service)


def test_the_request_is_honest_and_asks_for_nothing_packed():
    sent = talk(ask(question(8081, name="host.invalid")), reply()).sent
    assert sent.startswith(b"GET / HTTP/1.1\r\nHost: host.invalid:8081\r\nUser-Agent: ip-intelligence-scanner ")
    assert b"\r\nAccept-Encoding: identity\r\n" in sent
    assert b"Cookie" not in sent
    assert b"Authorization" not in sent


@pytest.mark.parametrize(
    ("port", "asked"), [(12345, "/shop?id=1"), (443, "/shop?id=1"), (2375, "/version"), (5984, "/"), (9200, "/")]
)
def test_a_url_is_asked_for_its_own_page_but_a_database_for_the_one_that_names_it(port, asked):
    talked = talk(ask(question(port, path="/shop?id=1")), reply())
    assert talked.sent.startswith(f"GET {asked} HTTP/1.1\r\n".encode())
    assert talked.service.http is not None
    assert talked.service.http.path == asked


def test_a_page_that_leads_nowhere_but_to_itself_is_asked_for_once():
    streams = [reply("Location: /shop", status="302 Found"), page("<title>There</title>")]
    assert talk(ask(question(path="/shop")), *streams).ports == []
    elsewhere = talk(ask(question(path="/shop")), reply("Location: /", status="302 Found"), reply())
    assert elsewhere.ports == [12345]


@pytest.mark.parametrize(
    ("server", "product", "version"),
    [
        ("Apache/2.4.57 (Debian)", "Apache", "2.4.57"),
        ("Apache", "Apache", None),
        ("Microsoft-IIS/10.0", "Microsoft-IIS", "10.0"),
        ("lighttpd/1.4.69", "lighttpd", "1.4.69"),
        ("openresty", "openresty", None),
        ("Jetty(9.4.51.v20230217)", "Jetty", None),
        ("42", None, None),
    ],
)
def test_the_product_is_the_first_that_the_server_names(server, product, version):
    service = talk(ask(question()), reply(f"Server: {server}")).service
    assert (service.product, service.version) == (product, version)


@pytest.mark.parametrize("title", ["Index of /backup", "Directory listing for /", "Index of /"])
def test_a_list_of_files_is_seen(title):
    assert facts(page(f"<title>{title}</title>")).lists_directory is True


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/login", "http://127.0.0.1:12345/login"),
        ("https://127.0.0.1/", "https://127.0.0.1/"),
        ("//127.0.0.1:12345/x", "http://127.0.0.1:12345/x"),
        ("http://127.0.0.1:8080/", None),  # a port that was not seen open
        ("http://127.0.0.1:9100/", None),  # one that prints whatever comes
        ("http://127.0.0.1:6379/", None),  # and one where nobody expects a web server
        ("http://192.0.2.1:12345/", None),
        ("http://169.254.169.254/latest/meta-data/", None),
        ("file:///etc/passwd", None),
        ("gopher://127.0.0.1:12345/_x", None),
        ("http://user@127.0.0.1:12345/", None),
        ("http://127.0.0.1:12345@192.0.2.1/", None),
        ("http://192.0.2.1\\@127.0.0.1:12345/", None),
        ("/a b", None),
        ("http://[::1]:12345/", None),
        ("http://127.0.0.1:99999/", None),
        ("http://127.0.0.1:12345/", None),  # itself
        ("javascript:alert(1)", None),
    ],
)
def test_a_redirect_leads_to_the_same_address_and_open_ports_or_nowhere(location, followed):
    streams = [reply(f"Location: {location}", status="302 Found"), page("<title>There</title>")]
    talked = talk(ask(question(open_ports=OPEN)), *streams, handshakes=[TLS])
    http = talked.service.http
    assert http is not None
    assert (http.status, http.location) == (302, location)
    assert http.redirects == ((followed,) if followed else ())
    assert (http.title == "There") is (followed is not None)
    assert len(talked.ports) == (2 if followed else 0)  # the page, and its icon
    assert set(talked.ports) <= OPEN


def test_a_redirect_to_the_given_name_is_one_to_the_same_address():
    streams = [reply("Location: https://host.invalid/", status="301 Moved"), page("<title>Safe</title>")]
    talked = talk(ask(question(80, name="host.invalid", open_ports=OPEN)), *streams, handshakes=[TLS])
    assert talked.service.http is not None
    assert (talked.service.http.title, talked.service.http.is_encrypted, talked.service.is_tls) == ("Safe", True, False)
    assert talked.ports == [443, 443]  # the page, and its icon
    elsewhere = talk(ask(question(80, name="other.invalid", open_ports=OPEN)), *streams, handshakes=[TLS])
    assert elsewhere.ports == []


def test_redirects_end_after_three():
    streams = [reply(f"Location: /{n}", status="302 Found") for n in range(9)]
    talked = talk(ask(question(open_ports=OPEN)), *streams)
    assert talked.service.http is not None
    assert len(talked.ports) == len(talked.service.http.redirects) == MAX_REDIRECTS


ICON = reply("Content-Type: image/x-icon", "Content-Length: 5", body=b"hello")


def test_a_page_has_the_hash_of_its_icon_from_the_same_origin():
    talked = talk(ask(question(8081, name="host.invalid", path="/a/b")), page("<title>x</title>"), ICON)
    assert talked.service.http is not None
    assert talked.service.http.favicon_hash == favicon_hash(b"hello")
    assert b"GET /favicon.ico HTTP/1.1\r\nHost: host.invalid:8081\r\n" in talked.sent
    assert talked.sent.count(b"GET ") == 2
    after = [reply("Location: https://host.invalid/", status="301 Moved"), page("x"), ICON]
    encrypted = talk(ask(question(80, name="host.invalid", open_ports=OPEN)), *after, handshakes=[TLS, TLS])
    assert encrypted.ports == [443, 443]
    assert encrypted.service.http is not None
    assert encrypted.service.http.favicon_hash == favicon_hash(b"hello")


def test_only_a_page_is_asked_for_its_icon():
    for said in (reply(), reply("Content-Type: application/json", body=b"{}"), reply("Content-Type: text/plain", body=b"x")):
        assert talk(ask(question()), said, ICON).ports == []


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("icon", "is_known"),
    [
        (ICON, True),
        (reply("Content-Type: image/png", "Transfer-Encoding: chunked", body=CHUNKS), True),
        (reply("Content-Type: image/png", "Transfer-Encoding: chunked", body=CHUNKS[:-5]), False),  # no end in sight
        (reply("Content-Type: image/png", body=b"hello"), False),
        (reply("Content-Type: image/png", "Content-Length: 9", body=b"hello"), False),
        (reply("Content-Type: image/png", "Content-Length: 0"), False),
        (reply("Content-Length: 5", body=b"hello"), False),
        (reply("Content-Type: text/html", "Content-Length: 5", body=b"hello"), False),  # the same page for every path
        (reply("Content-Type: image/png", "Content-Encoding: gzip", "Content-Length: 5", body=b"hello"), False),
        (reply("Content-Type: image/png", "Content-Length: 5", status="404 Not Found", body=b"hello"), False),
        (reply("Location: http://192.0.2.1/icon.png", status="302 Found"), False),
        (reply("Content-Type: image/png", "Content-Length: 70000", body=b"x" * 70_000), False),
        (b"", False),
        (b"SSH-2.0-x\r\n", False),
    ],
)
def test_an_icon_that_did_not_come_whole_has_no_hash(icon, is_known):
    talked = talk(ask(question()), page("<title>x</title>"), icon)
    assert talked.service.http is not None
    assert talked.service.http.favicon_hash == (favicon_hash(b"hello") if is_known else None)
    assert talked.service.http.title == "x"
    assert talked.ports == [12345]


def test_what_was_packed_against_our_wish_is_not_unpacked():
    bomb = gzip.compress(b"<title>x</title>" + b"\0" * 10_000_000)
    seen = facts(reply("Content-Type: text/html", "Content-Encoding: gzip", body=bomb))
    assert (seen.title, seen.has_password_field) == (None, None)


def test_a_chunked_page_is_read():
    body = b"10;ext=1\r\n<title>Chunked</\r\n6\r\ntitle>\r\n0\r\n\r\n"
    seen = facts(reply("Content-Type: text/html", "Transfer-Encoding: chunked", body=body))
    assert (seen.title, seen.is_complete) == ("Chunked", True)
    assert dechunked(b"ffffffff\r\nabc") == b"abc"
    assert dechunked(b"zz\r\nabc") == b""


def test_headers_without_end_are_cut_and_said_to_be():
    seen = facts(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"y" * (2 * MAX_HEADER_BYTES))
    assert (seen.status, seen.is_complete, seen.title) == (200, False, None)


def test_a_body_without_end_is_cut():
    seen = facts(page("<title>Long</title>" + "z" * (4 * MAX_BODY_BYTES)))
    assert (seen.title, seen.is_complete) == ("Long", False)


def test_what_a_page_says_is_clean_text():
    seen = facts(page("<title>\x00\x1b]0;x\x07\u202eevil</title>", "Server: \x1b[31mred\u202e"))
    for text in (seen.title, seen.server):
        assert text is not None
        assert text.isprintable()


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x0a", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 2000 x\r\n"]
)
def test_what_is_not_http_is_not_called_that(answer):
    assert talk(ask(question()), answer).service.state in (ServiceState.FAILED, ServiceState.UNRECOGNISED)


@given(st.binary(max_size=500), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 302 x\r\nLocation: "]))
def test_any_answer_ends_in_a_service(said, prefix):
    for stays_open in (False, True):
        service = talk(ask(question(open_ports=OPEN)), prefix + said, said, stays_open=stays_open).service
        if service.http:
            for text in (service.http.title, service.http.server, service.http.location, *service.http.redirects):
                assert text is None or text.isprintable()


@given(st.binary(max_size=300))
def test_any_head_is_read(said):
    head = read_head(b"HTTP/1.1 200 OK\r\n" + said)
    assert head is not None
    assert 0 <= head.body_bytes <= MAX_BODY_BYTES
    assert all(cookie.name for cookie in head.cookies())
