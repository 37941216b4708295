"""The client's side of one TLS connection, in memory: bytes in, bytes out, no socket.

Certificates are not verified here, because to look at a bad one is the purpose; no secret is ever sent through it. Level 0
of OpenSSL lets old versions and weak keys in, so that "not offered" does not merely mean "we would not". Diffie-Hellman in
a group of the server's own choice is left out all the same: OpenSSL takes one of 10,000 bits, which costs over a second of
the thread that all conversations share. Who wants that and nothing else refuses the handshake.
"""

from __future__ import annotations

import ssl
import warnings
from contextlib import suppress
from typing import Any

CHUNK_BYTES = 16 * 1024
MAX_CHAIN = 10


class TlsSession:
    """A handshake, and after it a pipe."""

    def __init__(self, server_name: str | None, *, is_legacy: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = _LEGACY if is_legacy else _ANY
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except ValueError:  # a name that SNI cannot carry
            self._object = context.wrap_bio(self._incoming, self._outgoing)

    def feed(self, data: bytes) -> None:
        """Bytes that came."""
        self._incoming.write(data)

    def end(self) -> None:
        """No more will come."""
        self._incoming.write_eof()

    def output(self) -> bytes:
        """Bytes to send now."""
        return self._outgoing.read()

    def shake(self) -> bool:
        """Go on with the handshake; true when it is done. Raises OSError when it cannot be: see `reason`."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def write(self, data: bytes) -> None:
        """Encrypt this; it is in `output` then. Where the other side has closed nothing is: the next read shows it."""
        with suppress(ssl.SSLError):
            self._object.write(data)

    def read(self) -> tuple[bytes, bool]:
        """What can be decrypted by now, and whether that was the end. A record that cannot be is an end as well."""
        plain = b""
        while True:
            try:
                more = self._object.read(CHUNK_BYTES)
            except ssl.SSLWantReadError:
                return plain, False
            except ssl.SSLError:  # closed, orderly or not
                return plain, True
            if not more:
                return plain, True
            plain += more

    @property
    def version(self) -> str:
        """TLSv1.3"""
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        chosen = self._object.cipher()
        return chosen[0] if chosen else ""

    def chain(self) -> tuple[bytes, ...]:
        """The certificates as DER, the server's own first. Python has a public way to the others since 3.13 only."""
        inner: Any = getattr(self._object, "_sslobj", None)
        try:
            certificates = [bytes(_der(each)) for each in (inner.get_unverified_chain() or ())[:MAX_CHAIN]]
        except (AttributeError, TypeError, ValueError):
            own = self._object.getpeercert(binary_form=True)
            certificates = [own] if own else []
        return tuple(certificates)

    @staticmethod
    def reason(error: OSError) -> str:
        """Why a handshake failed, in words: WRONG_VERSION_NUMBER is "wrong version number"."""
        if not isinstance(error, ssl.SSLError):
            return "the connection was closed"
        return (error.reason or "it is not TLS").lower().replace("_", " ")


def _der(certificate: Any) -> bytes:
    return bytes(certificate.public_bytes(_ENCODING_DER))


_ENCODING_DER = 2  # X509_FILETYPE_ASN1 of OpenSSL's x509.h


def _context(highest: ssl.TLSVersion | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:COMPLEMENTOFALL:!kDHE:@SECLEVEL=0")
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if highest is not None:
        context.maximum_version = highest
    return context


with warnings.catch_warnings():  # these versions are out of use, which is why it matters who still takes them
    warnings.simplefilter("ignore", DeprecationWarning)
    _ANY, _LEGACY = _context(None), _context(ssl.TLSVersion.TLSv1_1)
