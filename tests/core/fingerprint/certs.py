"""Certificates of every kind, made here, and a TLS server that shows one."""

from __future__ import annotations

import socket
import ssl
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.core.fingerprint.asking import Behaviour
from tests.patience import PATIENCE

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Made:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate, self.key = certificate, key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def make(
    name: str = "host.invalid",
    *,
    names: Sequence[str] | None = None,
    issuer: Made | None = None,
    key: Any = None,
    start: datetime = NOW - DAY,
    end: datetime = NOW + 90 * DAY,
    algorithm: hashes.HashAlgorithm | None = None,
) -> Made:
    """Self-signed unless it has an issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:60])])
    alternative = [_general_name(each) for each in (names if names is not None else [name])]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    signed = builder.sign(issuer.key if issuer else key, algorithm or hashes.SHA256())
    return Made(signed, key)


def weak_rsa() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_context(made: Made, *others: Made, highest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server that takes all versions up to the highest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if highest is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.maximum_version = highest
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.pem"
        path.write_bytes(pem(made, *others))
        context.load_cert_chain(path)
    return context


def pem(made: Made, *others: Made) -> bytes:
    """The key and the certificates, as servers want them in one file."""
    kind = serialization.Encoding.PEM
    plain: bytes = made.key.private_bytes(kind, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain + b"".join(each.certificate.public_bytes(kind) for each in (made, *others))


def encrypted(behave: Behaviour, context: ssl.SSLContext) -> Behaviour:
    """The same behaviour inside TLS."""

    def inside(connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with context.wrap_socket(connection, server_side=True) as wrapped:
            behave(wrapped)

    return inside
