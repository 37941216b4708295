"""HTTP: one GET with an honest name, and what status, headers and page tell; then the page's icon. Used inside TLS as well.

It asks for the page that a URL names, else for the front page, or on the ports of container platforms for /version; a JSON
document there may tell more than the Server header (documents.py).

Nothing is decompressed (Accept-Encoding: identity), no cookie is kept, no credential is sent. A redirect is followed at most
three times, and only to the same address and a port that the probe saw open and where web servers are usual: every
connection goes through `connect`, which asks the scope policy again and pins the address, whatever name the Location has.
Everything else is only recorded. After an HTML page one more request asks the same origin for /favicon.ico.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from urllib.parse import urljoin, urlsplit

from scans.core.fingerprint.base import Protocol, identified, misunderstood, said_text
from scans.core.fingerprint.conversation import End, OutOfTime, Question, Received, Talk, connect, receive, send, start_tls
from scans.core.fingerprint.cpe import cpe_of
from scans.core.fingerprint.documents import Document, Told, path_for, read_document, told
from scans.core.fingerprint.favicon import favicon_hash
from scans.core.fingerprint.http_reply import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_VALUE_CHARS,
    SECURITY_HEADERS,
    Reply,
    dechunked,
    has_password_field,
    is_http,
    lists_directory,
    page_text,
    read_head,
    title,
)
from scans.core.fingerprint.technologies import technologies
from scans.core.fingerprint.usual import may_redirect_to
from scans.core.types import HttpFacts, Service

USER_AGENT = "ip-intelligence-scanner (a request or two to see what this service is)"
ICON_PATH = "/favicon.ico"
MAX_REDIRECTS = 3
MAX_PATH_CHARS = 500
REPLY_SECONDS = 2.0
USUAL_REPLY_SECONDS = 4.0  # where HTTP is what one expects: some applications need their time
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Apache/2.4.57 (Debian), nginx/1.22.1, Microsoft-IIS/10.0: the first product and its version (RFC 9110, 5.6.2 and 10.1.5).
_PRODUCT = re.compile(r"([A-Za-z][\w.-]{0,60}?)(?:[/ ]v?(\d[\w.-]{0,40}))?(?:[\s,;(]|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a request goes: always the same address, so a scheme, a port, and what stands in Host and path."""

    scheme: str
    port: int
    host: str
    path: str = "/"

    @property
    def url(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    """One reply with as much of its body as was wanted."""

    place: _Place
    first_bytes: bytes
    reply: Reply
    text: str | None  # None: not HTML, or no body
    document: Document | None  # None: not JSON, or none that could be read
    is_complete: bool


def ask(question: Question, *, is_encrypted: bool = False, is_usual: bool = False) -> Talk[Service]:
    """Ask for the page on the connection as it is, and follow where it leads if it leads nowhere else."""
    scheme, path = "https" if is_encrypted else "http", path_for(question.port, question.path)
    place = _Place(scheme=scheme, port=question.port, host=_host(question), path=path)
    first = yield from _get(place, seconds=USUAL_REPLY_SECONDS if is_usual else REPLY_SECONDS)
    if isinstance(first, Received):
        return misunderstood(question, first)
    pages, icon = [first], None
    try:
        while len(pages) <= MAX_REDIRECTS and (next_place := _next(question, pages)):
            page = yield from _follow(question, next_place)
            if not isinstance(page, _Page):
                break
            pages.append(page)
        icon = yield from _icon(question, pages[-1])
    except OutOfTime:
        pass  # what is known so far is no less true
    who = _who(pages[-1])
    return identified(
        question,
        HTTP,
        first.first_bytes,
        product=who.product,
        version=who.version,
        cpe=cpe_of(who.product, who.version),
        access=who.access,
        is_tls=is_encrypted,
        http=_facts(pages, icon),
    )


def _get(place: _Place, *, seconds: float) -> Talk[_Page | Received]:
    """The page there, or what came instead of one."""
    line, rest = yield from _head(place, seconds=seconds)
    reply = read_head(line.data + rest.data)
    if reply is None:
        return line
    is_complete = rest.end is End.DELIMITER
    text = ""
    if is_complete and (reply.is_html or reply.is_json) and reply.has_body:
        body = yield from _body(reply, seconds=seconds)
        text = page_text(dechunked(body.data) if reply.is_chunked else body.data)
        is_complete = body.end in (End.CLOSED, End.DELIMITER) or len(body.data) == reply.body_bytes < MAX_BODY_BYTES
    return _Page(
        place=place,
        first_bytes=line.data + rest.data,
        reply=reply,
        text=text if reply.is_html else None,
        document=read_document(text) if reply.is_json else None,
        is_complete=is_complete,
    )


def _icon(question: Question, page: _Page) -> Talk[int | None]:
    """The hash of what the page's origin has for an icon, if it came whole; of what has no end in sight none is known."""
    place = replace(page.place, path=ICON_PATH)
    if page.text is None or not (yield from _reached(question, place)):
        return None
    line, rest = yield from _head(place, seconds=REPLY_SECONDS)
    reply = read_head(line.data + rest.data)
    if reply is None or rest.end is not End.DELIMITER or reply.status != 200 or not reply.may_be_icon:
        return None
    body = yield from _body(reply, seconds=REPLY_SECONDS)
    if reply.is_chunked:
        return favicon_hash(dechunked(body.data)) if body.end is End.DELIMITER else None
    return favicon_hash(body.data) if len(body.data) == reply.length else None


def _head(place: _Place, *, seconds: float) -> Talk[tuple[Received, Received]]:
    """Ask, and receive the status line and the headers."""
    port = "" if place.port == _DEFAULT_PORTS[place.scheme] else f":{place.port}"
    request = (
        f"GET {place.path} HTTP/1.1\r\nHost: {place.host}{port}\r\nUser-Agent: {USER_AGENT}\r\n"
        "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    yield from send(request.encode("ascii"))
    line = yield from receive(most=MAX_HEADER_BYTES, until=(b"\n",), seconds=seconds, idle_seconds=seconds)
    return line, (yield from _rest_of_head(line, seconds=seconds))


def _rest_of_head(line: Received, *, seconds: float) -> Talk[Received]:
    """The headers up to the empty line; nothing more of what is no reply."""
    if line.end is not End.DELIMITER or not is_http(line.data):
        return Received(b"", line.end)
    return (
        yield from receive(
            most=MAX_HEADER_BYTES - len(line.data), until=(b"\r\n\r\n", b"\n\n"), seconds=seconds, idle_seconds=seconds
        )
    )


def _body(reply: Reply, *, seconds: float) -> Talk[Received]:
    until = (b"0\r\n\r\n",) if reply.is_chunked else ()
    return (yield from receive(most=reply.body_bytes, until=until, seconds=seconds, idle_seconds=1.0))


def _follow(question: Question, place: _Place) -> Talk[_Page | Received | None]:
    return (yield from _get(place, seconds=REPLY_SECONDS)) if (yield from _reached(question, place)) else None


def _reached(question: Question, place: _Place) -> Talk[bool]:
    """Connect to it anew, encrypted if it wants that."""
    if (yield from connect(place.port)) is not None:
        return False
    return place.scheme != "https" or (yield from start_tls(question.name)).error is None


def _next(question: Question, pages: list[_Page]) -> _Place | None:
    """Where the last page redirects to, if that may be followed: the same host and an open port, and not again."""
    page = pages[-1]
    location = page.reply.first("location")
    if page.reply.status not in _REDIRECTS or not location or re.search(r"[^\x21-\x7e]|\\", location):
        return None
    try:
        parts = urlsplit(urljoin(page.place.url, location[:MAX_PATH_CHARS]))
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not _is_same_host(question, parts.hostname) or "@" in parts.netloc:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    place = _Place(scheme=parts.scheme, port=port, host=page.place.host, path=path)
    is_allowed = port == question.port or (port in question.open_ports and may_redirect_to(port))
    return place if is_allowed and place not in [other.place for other in pages] else None


def _is_same_host(question: Question, hostname: str | None) -> bool:
    return hostname is not None and hostname.rstrip(".") in (question.name, str(question.address))


def _host(question: Question) -> str:
    if question.name is not None:
        return question.name
    return f"[{question.address}]" if isinstance(question.address, IPv6Address) else str(question.address)


def _who(page: _Page) -> Told:
    """Who answers: by the document; by a header that Elasticsearch gives with every answer; else by what Server says."""
    found = told(page.document) if page.document is not None else None
    if found is not None:
        return found if page.reply.status == 200 else found._replace(access=None)
    if page.reply.first("x-elastic-product") == "Elasticsearch":
        return Told("Elasticsearch")
    match = _PRODUCT.match(page.reply.said("server") or "")
    return Told(match[1], match[2]) if match else Told(None)


def _facts(pages: list[_Page], icon: int | None) -> HttpFacts:
    first, last = pages[0], pages[-1]
    reply, text = last.reply, last.text
    sent = {name: said for name in SECURITY_HEADERS if (said := reply.said(name)) is not None}
    return HttpFacts(
        status=first.reply.status,
        path=said_text(first.place.path, limit=MAX_PATH_CHARS) or "/",
        location=first.reply.said("location", limit=MAX_PATH_CHARS),
        redirects=tuple(said_text(page.place.url, limit=MAX_PATH_CHARS) or "" for page in pages[1:]),
        last_status=reply.status if len(pages) > 1 else None,
        title=title(text) if text is not None else None,
        server=reply.said("server"),
        powered_by=reply.said("x-powered-by"),
        content_type=reply.said("content-type", limit=MAX_VALUE_CHARS),
        security_headers=tuple(sent.items()),
        cookies=reply.cookies(),
        has_password_field=has_password_field(text) if text is not None else None,
        lists_directory=lists_directory(text) if text is not None else None,
        favicon_hash=icon,
        technologies=technologies(reply, text or ""),
        is_encrypted=last.place.scheme == "https",
        is_complete=last.is_complete,
    )


HTTP = Protocol(name="HTTP", technique="HTTP/HTTPS Request", ask=ask)
