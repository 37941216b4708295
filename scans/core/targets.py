"""Text to targets: normalise, fold, refuse with a reason.

    form, file ─► split_lines ─┐
    API, arguments ────────────┴─► read_items ─► Target… (and Rejected…) ─► fold

One grammar everywhere: an IPv4 or IPv6 address, a CIDR, an `a-b` range, a host name, or an http(s) URL.

The parser is stricter than the programs behind it, on purpose. `getaddrinfo` takes `0177.0.0.1`, `2130706433` and
`①②⑦.0.0.1` for 127.0.0.1 and cuts a name at a NUL; `urlsplit` drops a TAB silently and disagrees with requests
about a backslash. So whatever two programs could read in two ways is refused here, and every later step uses the
`Target` and never the text again.

Codes of `TargetError`: empty, too_long, control_character, white_space, backslash, bad_address, zone_id, bad_name,
bad_url, bad_scheme, bad_port, bad_network, bad_range, is_range, too_many, and not_read in a `Rejected`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from urllib.parse import quote, unquote_plus

import idna

from scans.core.text import clean_text
from scans.core.types import IPAddress, Target, TargetKind

MAX_ITEM_CHARS = 2048
MAX_NAME_CHARS = 253  # RFC 1035 without the root's dot
MAX_SHOWN_CHARS = 200
MAX_REJECTED = 1000  # a million bad lines are not a million error messages
DEFAULT_PORTS = {"http": 80, "https": 443}
REDACTED = "REDACTED"

_OUTER_SPACE = " \t\r\n\u00a0"  # a no-break space comes with text copied from web pages
_UNWANTED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # what clean_text blanks: it could not be shown as it is

# The URL Standard's "ends in a number": inet_aton reads such a host as an address, however odd its other parts.
_NUMERIC = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\.?$", re.ASCII | re.IGNORECASE)
_QUAD = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_LABEL_CHARS = re.compile(r"[a-z0-9_-]+", re.ASCII)
_URL = re.compile(r"([^:/?#]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?")  # RFC 3986, appendix B
_URL_WITH_PATH = re.compile(r"://[^/?#]*[/?#]")
_URL_SAFE = "/:@!$&'()*+,;=-._~%?"  # left as written in a path; all else is percent-encoded
_LISTED_NEXT = re.compile(r"\s|[a-z]+://|\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:", re.ASCII | re.IGNORECASE)

_SECRET_WORDS = {
    "token", "accesstoken", "authtoken", "key", "apikey", "password", "passwd", "pwd", "passphrase", "secret",
    "clientsecret", "sig", "signature", "auth", "authorization", "session", "sessionid", "jsessionid", "phpsessid", "sid",
    "jwt", "bearer", "credential", "credentials", "otp",
}  # fmt: skip
_SECRET_NAMES = _SECRET_WORDS | {"code", "pass"}  # too common as one word among others: country_code
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_NAMED_VALUE = re.compile(r"(?:^|[;?/])([^=;?/]*)=(?=.)")

# Scripts whose letters pass for each other's; a label that mixes them may imitate another name.
_LOOKALIKE_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"}


class TargetError(ValueError):
    """Text that cannot be a target. `text` is what to show of it, `code` a slug, `str(error)` the reason in words."""

    def __init__(self, text: str, code: str, reason: str) -> None:
        self.text = shown(text)
        self.code = code
        super().__init__(f"{self.text} {reason}" if self.text else reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """One item that could not be read, and why."""

    index: int
    text: str
    code: str
    reason: str


def parse_target(text: str) -> Target:
    """Read one address, name or URL. A CIDR or a range is an error: those are for `expand`."""
    item = _checked(text)
    with _blaming(item):
        if _span(item) is not None:
            raise TargetError(item, "is_range", "stands for several addresses: one address, name or URL is wanted here.")
        return _single(item)


def expand(text: str, *, limit: int) -> list[Target]:
    """Read one item; a CIDR or range gives a target per address, network and broadcast address included."""
    return _expand(text, limit=limit, taken=0)


def split_lines(text: str) -> list[str]:
    """The items of a form or file: one per line or comma-separated, without blank lines and `#` comments.

    A `#` opens a comment at the start of a line or after white space, since a URL may hold one. A comma inside a URL's
    path or query stays in the URL unless white space, an address or another URL follows it.
    """
    items: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")):  # the byte order mark of Windows editors
        items += _split_line(re.sub(r"(?:^|\s)#.*", "", line))
    return items


def fold(targets: Iterable[Target]) -> tuple[list[Target], list[Target]]:
    """The first target of each key, in order, and the repeats that were dropped."""
    kept: dict[str, Target] = {}
    repeats = [target for target in targets if kept.setdefault(target.key, target) is not target]
    return list(kept.values()), repeats


def read_items(items: Sequence[str], *, limit: int) -> tuple[list[Target], list[Rejected]]:
    """Read a whole list: the targets in order, and every bad item with its place and reason.

    The limit counts targets before folding, so that repeats cannot use up memory. An item that does not fit in what is
    left is rejected whole; a later, smaller one may still fit.
    """
    found: list[Target] = []
    rejected: list[Rejected] = []
    for index, item in enumerate(items):
        try:
            found += _expand(item, limit=limit, taken=len(found))
        except TargetError as error:
            rejected.append(Rejected(index=index, text=error.text, code=error.code, reason=str(error)))
        if len(rejected) >= MAX_REJECTED and index + 1 < len(items):
            left = f"The other {len(items) - index - 1:,} items were not read after {MAX_REJECTED:,} errors."
            rejected.append(Rejected(index=index + 1, text="", code="not_read", reason=left))
            break
    return found, rejected


def unmap(address: IPAddress) -> IPAddress:
    """The IPv4 address behind `::ffff:192.0.2.1`, which is what a connection would reach; any other as it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def shown(text: str) -> str:
    """What an error may repeat of hostile text: short, on one line, without what could be a password.

    In text that could not be parsed nobody knows where a password ends, so everything before the last @ goes.
    """
    before, mark, query = text.partition("?")
    text = before + mark + _redact(query)
    userinfo, at, rest = text.rpartition("@")
    if at:
        scheme = re.match(r"\s*[a-z][a-z0-9+.-]{0,20}://", userinfo, re.IGNORECASE)
        text = f"{scheme[0] if scheme else ''}…@{rest}"
    return clean_text(text, limit=MAX_SHOWN_CHARS)


def _split_line(line: str) -> list[str]:
    items: list[list[str]] = []  # each as the pieces between its commas
    is_url_open = False  # the last item is a URL and has come to its path, where a comma may belong to it
    for piece in line.split(","):
        if is_url_open and piece and not _LISTED_NEXT.match(piece):
            items[-1].append(piece)
            continue
        is_url_open = _URL_WITH_PATH.search(piece) is not None
        if piece.strip(_OUTER_SPACE):
            items.append([piece])
    return [",".join(pieces).strip(_OUTER_SPACE) for pieces in items]


@contextmanager
def _blaming(item: str) -> Iterator[None]:
    """The reason names the part that is wrong; `error.text` is the whole item, by which the user finds it."""
    try:
        yield
    except TargetError as error:
        error.text = shown(item)
        raise


def _checked(text: str) -> str:
    """The text without outer white space, once it is known to hold nothing that two programs read differently."""
    item = text.strip(_OUTER_SPACE)
    if not item:
        raise TargetError("", "empty", "The item is empty.")
    if len(item) > MAX_ITEM_CHARS:
        raise TargetError(item, "too_long", f"is longer than {MAX_ITEM_CHARS:,} characters.")
    for character in item:
        if unicodedata.category(character) in _UNWANTED:
            code_point = f"U+{ord(character):04X}"
            raise TargetError(item, "control_character", f"holds the character {code_point}, which no target may hold.")
        if character.isspace():
            raise TargetError(item, "white_space", "holds white space: write one target per line, or commas between them.")
    if "\\" in item:
        raise TargetError(item, "backslash", "holds a backslash, which programs read in different ways.")
    return item


# --- Several addresses in one item ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Consecutive addresses; how many is known by arithmetic, so 0.0.0.0/0 costs nothing to refuse."""

    first: IPAddress
    count: int

    def addresses(self) -> Iterator[IPAddress]:
        start, address_class = int(self.first), type(self.first)
        return (address_class(value) for value in range(start, start + self.count))


def _expand(text: str, *, limit: int, taken: int) -> list[Target]:
    item = _checked(text)
    with _blaming(item):
        span = _span(item)
        count = span.count if span else 1
        if taken + count > limit:
            holds = f"holds {count:,} addresses" if span else "is one target too many"
            already = f", {taken:,} of them taken by the items before" if taken else ""
            raise TargetError(item, "too_many", f"{holds}; the limit is {limit:,} targets{already}.")
        if span is None:
            return [_single(item)]
        return [_ip_target(address) for address in span.addresses()]


def _span(item: str) -> _Span | None:
    """The addresses of a CIDR or a range; None for anything else, which is then a single target."""
    if "://" in item:
        return None
    if "/" in item:
        return _network(item)
    left, dash, right = item.partition("-")
    # Reverse-DNS names such as 192.0.2.7-static.isp.invalid are names, so the right side has a say too.
    is_range = ":" in left or (_QUAD.fullmatch(left) and (":" in right or re.fullmatch(r"[0-9.]*", right)))
    return _range(item, left, right) if dash and is_range else None


def _network(item: str) -> _Span:
    left, _, length = item.partition("/")
    if re.fullmatch(r"[a-z][a-z0-9+.-]*:", left, re.ASCII | re.IGNORECASE):
        raise TargetError(item, "bad_url", "is not a URL: two slashes follow the scheme, as in http://.")
    address = _address(left)
    if address is None:
        raise TargetError(item, "bad_url", "has a path but no scheme: begin it with http:// or https://.")
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", length):
        raise TargetError(item, "bad_network", "is not a network: the length of the prefix is a number, like /24.")
    if int(length) > address.max_prefixlen:
        raise TargetError(item, "bad_network", f"is not a network: the prefix is longer than /{address.max_prefixlen}.")
    network = ip_network(f"{address}/{length}", strict=False)
    if address != network.network_address:
        repair = f"write {network} for the network, or {address} for the one address"
        raise TargetError(item, "bad_network", f"names an address inside a network: {repair}.")
    return _Span(first=address, count=network.num_addresses)


def _range(item: str, left: str, right: str) -> _Span:
    first = _address(left)
    if isinstance(first, IPv4Address) and re.fullmatch(r"0|[1-9][0-9]{0,2}", right):
        right = f"{left.rpartition('.')[0]}.{right}"
    last = _address(right)
    if first is None or last is None:
        raise TargetError(item, "bad_range", "is not a range: write it like 192.0.2.1-192.0.2.9 or 192.0.2.1-9.")
    if first.version != last.version:
        raise TargetError(item, "bad_range", "is not a range: its ends are an IPv4 and an IPv6 address.")
    if int(first) > int(last):
        raise TargetError(item, "bad_range", "runs backwards.")
    return _Span(first=first, count=int(last) - int(first) + 1)


# --- One address, name or URL --------------------------------------------------------------------------------------


def _single(item: str) -> Target:
    if "://" in item:
        return _url(item)
    if item.startswith("["):
        raise TargetError(item, "bad_address", "is in brackets, which belong around an IPv6 address in a URL only.")
    if re.fullmatch(r"[^:]+:[0-9]+", item):
        raise TargetError(item, "bad_url", "has a port but no scheme: begin it with http:// or https://.")
    address = _address(item)
    if address is not None:
        return _ip_target(address, text=item)
    host, notes = _name(item)
    return Target(kind=TargetKind.NAME, text=item, host=host, notes=notes)


def _ip_target(written: IPAddress, *, text: str | None = None) -> Target:
    """The target of an address; one of many in a range has no text of its own."""
    address = unmap(written)
    host = str(address)
    notes = _unmap_notes(written, address)
    return Target(kind=TargetKind.IP, text=host if text is None else text, host=host, address=address, notes=notes)


def _unmap_notes(written: IPAddress, address: IPAddress) -> tuple[str, ...]:
    return () if address == written else (f"IPv4-mapped address read as {address}",)


def _address(text: str) -> IPAddress | None:
    """The address as written; None if the text does not look like one, which makes it a name."""
    if ":" in text:
        return _ipv6(text)
    return _ipv4(text) if _NUMERIC.search(text) else None


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise TargetError(text, "zone_id", "holds a zone id (%…), which means something on one machine only.")
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise TargetError(text, "bad_address", "is not an IPv6 address.") from None


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise TargetError(text, "bad_address", f"is not an address: {_why_not_ipv4(text)}.") from None


def _why_not_ipv4(text: str) -> str:
    if not text.isascii():
        return "it is not written in plain digits and dots"
    if text.endswith("."):
        return "an address has no dot at its end"
    parts = text.split(".")
    if len(parts) != 4:
        return f"it has {len(parts)} part{'s' if len(parts) > 1 else ''}, an address has four"
    for place, part in zip(("first", "second", "third", "last"), parts, strict=True):
        if not part.isdigit():
            return f"the {place} part is not a decimal number"
        if part.startswith("0") and part != "0":
            return f"the {place} part begins with a zero, which some programs read as octal"
        if len(part) > 3 or int(part) > 255:
            return f"the {place} part is above 255"
    return "it is not four numbers from 0 to 255"


def _name(text: str) -> tuple[str, tuple[str, ...]]:
    """The A-label form of a host name, lower case and without the final dot, and what to tell about it.

    An underscore may stand anywhere in a label: DNS and the system's resolver take it, and names like `_dmarc` exist.
    """
    if len(text) > MAX_NAME_CHARS + 1:  # asked first, because the next step is slow
        raise TargetError(text, "bad_name", f"is not a host name: it is longer than {MAX_NAME_CHARS} characters.")
    try:
        mapped = idna.uts46_remap(text, std3_rules=False).removesuffix(".")
    except idna.IDNAError:
        raise TargetError(text, "bad_name", "is not a host name: it holds a character that no name may hold.") from None
    if _NUMERIC.search(mapped):  # "①②⑦.0.0.1", "127。0。0。1": resolvers read them as addresses
        raise TargetError(text, "bad_address", f"is not an address: {_why_not_ipv4(text)}.")
    labels = [_label(text, label) for label in mapped.split(".")]
    host = ".".join(labels)
    if len(host) > MAX_NAME_CHARS:
        raise TargetError(text, "bad_name", f"is not a host name: it is longer than {MAX_NAME_CHARS} characters.")
    return host, _name_notes(text, labels)


def _label(text: str, label: str) -> str:
    why = ""
    if not label:
        why = "a label is empty"
    elif len(label) > 63:
        why = "a label is longer than 63 characters"
    elif not label.isascii() or label.startswith("xn--"):
        try:
            return idna.alabel(label).decode("ascii")
        except idna.IDNAError:
            why = "a label is not a valid international one"
    elif not _LABEL_CHARS.fullmatch(label):
        character = next(c for c in label if not _LABEL_CHARS.fullmatch(c))
        why = f"{character} cannot be part of one"
    elif label.startswith("-") or label.endswith("-"):
        why = "a label begins or ends with a hyphen"
    if why:
        raise TargetError(text, "bad_name", f"is not a host name: {why}.")
    return label


def _name_notes(text: str, labels: list[str]) -> tuple[str, ...]:
    notes = []
    if not text.isascii():
        notes.append(f"international name looked up as {'.'.join(labels)}")
    for label in labels:
        scripts = _scripts(idna.ulabel(label)) if label.startswith("xn--") else set()
        if len(scripts) > 1:
            mix = " and ".join(sorted(script.capitalize() for script in scripts))
            notes.append(f"mixes {mix} letters: it may imitate another name")
    return tuple(notes)


def _scripts(label: str) -> set[str]:
    """The look-alike scripts of a label. A character's Unicode name begins with its script."""
    return {unicodedata.name(c, "").partition(" ")[0] for c in label if c.isalpha()} & _LOOKALIKE_SCRIPTS


def _url(item: str) -> Target:
    match = _URL.fullmatch(item)
    if match is None:
        raise TargetError(item, "bad_url", "is not a URL: what stands before :// is not a scheme.")
    scheme, authority = match[1].lower(), match[2]
    if scheme not in DEFAULT_PORTS:
        raise TargetError(item, "bad_scheme", "is not scanned: only http:// and https:// are.")
    if authority.count("@") > 1:
        raise TargetError(item, "bad_url", "holds more than one @ before its path, so its host is in doubt.")
    _, at, place = authority.rpartition("@")
    written_host, port = _host_and_port(item, place)
    host, address, notes = _url_host(item, written_host)
    path, query, fragment = _redact_path(match[3]), _redact(match[4] or ""), _redact(match[5] or "")
    if (path, query, fragment) != (match[3], match[4] or "", match[5] or ""):
        notes = ("secret values redacted", *notes)
    tail = "" if match[4] is None else f"?{query}"
    text = f"{match[1]}://{place}{path}{tail}{'' if match[5] is None else f'#{fragment}'}"
    if len(text) > MAX_ITEM_CHARS:  # each redaction may lengthen it
        raise TargetError(item, "too_long", f"is longer than {MAX_ITEM_CHARS:,} characters with its secrets redacted.")
    return Target(
        kind=TargetKind.URL,
        text=text,
        host=host,
        address=address,
        port=port or DEFAULT_PORTS[scheme],
        scheme=scheme,
        path=quote((path or "/") + tail, safe=_URL_SAFE),
        notes=("userinfo removed", *notes) if at else notes,
    )


def _host_and_port(item: str, place: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]` or `[v6]:port`. The port is never quoted in an error: it may be a password."""
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?", place)
    if match is None or (not place.startswith("[") and place.count(":") > 1):
        raise TargetError(item, "bad_url", "has no readable host: an IPv6 address in a URL stands in brackets.")
    if not match[1]:
        raise TargetError(item, "bad_url", "has no host.")
    if match[2] is None:
        return match[1], None
    if not re.fullmatch(r"[1-9][0-9]{0,4}", match[2]) or int(match[2]) > 65535:
        raise TargetError(item, "bad_port", "has a port that is not a number from 1 to 65535.")
    return match[1], int(match[2])


def _url_host(item: str, written: str) -> tuple[str, IPAddress | None, tuple[str, ...]]:
    """The canonical host, the address if it is one, and the notes."""
    if written.startswith("["):
        if ":" not in written:
            raise TargetError(item, "bad_address", "holds something in brackets that is not an IPv6 address.")
        literal: IPAddress | None = _ipv6(written[1:-1])
    else:
        literal = _address(written)
    if literal is None:
        host, notes = _name(written)
        return host, None, notes
    address = unmap(literal)
    return str(address), address, _unmap_notes(literal, address)


def asked_path(target: Target) -> str:
    """What a URL asks for, path and query, in ASCII; `/` for any other target.

    As it is kept, and of what holds a redacted value only the rest: a query without that part, a path up to it.
    """
    path, _, query = target.path.partition("?")
    before, secret, _ = path.partition(REDACTED)
    if secret:
        path = before[: max(before.rfind("/"), before.rfind(";"))]
    kept = "&".join(part for part in query.split("&") if REDACTED not in part)
    return (path or "/") + (f"?{kept}" if kept else "")


# --- Secrets in URLs -----------------------------------------------------------------------------------------------


def _redact_path(path: str) -> str:
    return "/".join(_redact(segment) for segment in path.split("/"))  # `;jsessionid=…` hides in a segment


def _redact(query: str) -> str:
    """The query with the values of secret-looking names replaced; what follows a secret up to the next & goes too."""
    return "&".join(_redact_part(part) for part in query.split("&"))


def _redact_part(part: str) -> str:
    for named in _NAMED_VALUE.finditer(part):
        if _is_secret(unquote_plus(named[1])):
            return part[: named.end()] + REDACTED
    name, equals, value = part.partition("=")
    # A URL inside a URL, `next=%2Fcallback%3Fcode%3D…`: its parts show once decoded.
    if equals and any(_is_secret(named[1]) for named in _NAMED_VALUE.finditer(unquote_plus(value).replace("&", ";"))):
        return f"{name}={REDACTED}"
    return _JWT.sub(REDACTED, part)


def _is_secret(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return name.lower() in _SECRET_NAMES or not _SECRET_WORDS.isdisjoint(words)
