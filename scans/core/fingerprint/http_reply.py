"""One HTTP reply, read from bytes that anybody may have written: never an exception, never more than the limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

from scans.core.fingerprint.base import said_text
from scans.core.types import Cookie

MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_COOKIES = 20
MAX_VALUE_CHARS = 300
MAX_TITLE_CHARS = 120

# What MDN's HTTP Observatory and the OWASP Secure Headers project ask for; X-XSS-Protection is obsolete.
SECURITY_HEADERS = (
    "strict-transport-security",
    "content-security-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
)

_STATUS = re.compile(rb"HTTP/(\d\.\d|\d) +(\d{3})(?: |\r|\n|$)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,200}\r\n")
_TITLE = re.compile(r"<title(?:\s[^<>]{0,200})?>([^<]{0,600})", re.IGNORECASE)
# Apache, nginx, lighttpd, Python's and Jetty's own pages, by their titles.
_LISTING = re.compile(r"(?:index of|directory listing for|listing of|directory:) ?/", re.IGNORECASE)
_PASSWORD = re.compile(r"<input\s[^<>]{0,400}?\btype\s{0,5}=\s{0,5}[\"']?password\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """Status and headers of one reply; names in lower case, values as they came, several of one name in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def first(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name), None)

    def said(self, name: str, *, limit: int = MAX_VALUE_CHARS) -> str | None:
        """The same as clean text."""
        return said_text(self.first(name), limit=limit)

    @property
    def is_html(self) -> bool:
        """Whether its body is HTML in plain bytes."""
        return self._kind in ("text/html", "application/xhtml+xml")

    @property
    def is_json(self) -> bool:
        """Whether its body is JSON in plain bytes."""
        return self._kind == "application/json"

    @property
    def may_be_icon(self) -> bool:
        """Whether its body may be an icon: plain bytes, and not the page that some servers have for every path."""
        return self.has_body and self._kind not in ("", "text/html", "application/xhtml+xml", "application/json")

    @property
    def _kind(self) -> str:
        """The media type; none for a body that was compressed against our wish, which is not read at all."""
        coding = (self.first("content-encoding") or "identity").strip().lower()
        return (self.first("content-type") or "").partition(";")[0].strip().lower() if coding in ("identity", "") else ""

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return (self.first("transfer-encoding") or "").strip().lower().endswith("chunked")

    @property
    def length(self) -> int | None:
        """How long the body says it is; a length that cannot be meant says nothing."""
        text = (self.first("content-length") or "").strip()
        return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None

    @property
    def body_bytes(self) -> int:
        """The same, and never more than is read."""
        return MAX_BODY_BYTES if self.length is None else min(self.length, MAX_BODY_BYTES)

    @property
    def has_body(self) -> bool:
        """RFC 9112, 6.3; an empty one is none."""
        return self.status >= 200 and self.status not in (204, 304) and self.body_bytes > 0

    def cookie_names(self) -> list[str]:
        """Of the cookies offered, as they came."""
        return [value.partition("=")[0].strip() for key, value in self.headers if key == "set-cookie"][:MAX_COOKIES]

    def cookies(self) -> tuple[Cookie, ...]:
        """The cookies offered, without their values."""
        offered = [value for key, value in self.headers if key == "set-cookie"]
        return tuple(cookie for value in offered[:MAX_COOKIES] if (cookie := _cookie(value)))


def is_http(head: bytes) -> bool:
    """Whether these bytes begin a reply."""
    return _STATUS.match(head) is not None


def read_head(head: bytes) -> Reply | None:
    """Status line and headers, as far as they came; None for what is not HTTP."""
    status = _STATUS.match(head)
    if not status:
        return None
    headers = []
    for line in head.split(b"\n", MAX_HEADERS + 1)[1 : MAX_HEADERS + 1]:
        name, colon, value = line.partition(b":")
        if colon and re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", name):
            # Latin-1 loses no byte; what a browser would make of it does not matter here.
            headers.append((name.decode("ascii").lower(), value.strip()[:4096].decode("latin-1")))
    return Reply(status=int(status[2]), headers=tuple(headers))


def dechunked(body: bytes) -> bytes:
    """The content of a chunked body, as far as it came (RFC 9112, 7.1)."""
    parts, at = [], 0
    while size := _CHUNK.match(body, at):
        start = size.end()
        length = int(size[1], 16)
        if length == 0:
            break
        parts.append(body[start : start + length])
        at = start + length + 2
    return b"".join(parts)


def page_text(body: bytes) -> str:
    """As much of a page as is read."""
    return body[:MAX_BODY_BYTES].decode("utf-8", "replace")


def title(page: str) -> str | None:
    """What stands in the first <title>."""
    found = _TITLE.search(page)
    return said_text(unescape(found[1]), limit=MAX_TITLE_CHARS) if found else None


def lists_directory(page: str) -> bool:
    """Whether the page is a server's own list of files, by its title."""
    return _LISTING.match(title(page) or "") is not None


def has_password_field(page: str) -> bool:
    """Whether a password can be typed in."""
    return _PASSWORD.search(page) is not None


def _cookie(header: str) -> Cookie | None:
    pair, *attributes = header.split(";")
    name = said_text(pair.partition("=")[0].strip(), limit=60)
    if not name:
        return None
    named = {key.strip().lower(): value.strip() for key, _, value in (part.partition("=") for part in attributes[:20])}
    return Cookie(
        name=name,
        is_secure="secure" in named,
        is_http_only="httponly" in named,
        same_site=said_text(named.get("samesite"), limit=20),
    )
