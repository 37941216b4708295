"""A certificate chain, judged: names, validity, key, signature, and whether an authority of the common list vouches for it.

The handshake takes any certificate, since to look at a bad one is the purpose. So the chain comes as DER, from whoever
answers: its size is bounded before it is parsed, and whatever cannot be read is one problem among the others.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from scans.core.fingerprint.base import said_text
from scans.core.text import clean_text

MAX_NAMES = 100
MAX_NAME_CHARS = 253
MAX_CHAIN, MAX_CHAIN_BYTES = 8, 64 * 1024
MIN_RSA_BITS, MIN_EC_BITS = 2048, 224  # NIST SP 800-131A
# An authority's: what a signature costs to check grows with both, and the search for a path checks about a hundred.
MAX_RSA_BITS, MAX_EXPONENT_BITS = 8192, 33
_WEAK_HASHES = ("md5", "sha1")
_WEAK_CIPHERS = ("RC4", "3DES", "DES-CBC", "NULL", "EXP", "ADH", "AECDH", "MD5")
# A Warning is raised only where the interpreter is told to: of what RFC 5280 forbids and is read all the same.
_UNREADABLE = (
    ValueError,
    TypeError,
    Warning,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def judge(chain: Sequence[bytes], *, name: str | None, now: datetime, cipher: str = "") -> dict[str, Any]:
    """The fields of TlsFacts that a chain tells, judged at this moment and for this name, if one was given."""
    weak_cipher = (f"cipher {cipher}",) if any(word in cipher for word in _WEAK_CIPHERS) else ()
    if not chain:
        return {"problems": ("no certificate",), "weaknesses": weak_cipher}
    if len(chain[0]) > MAX_CHAIN_BYTES:
        return {"problems": ("oversized certificate",), "weaknesses": weak_cipher}
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        facts = _facts(leaf, name=name)
    except _UNREADABLE:
        return {"problems": ("unreadable certificate",), "weaknesses": weak_cipher}
    is_trusted = _is_trusted(leaf, chain[1:], now=now)
    problems = _problems(leaf, facts, is_trusted=is_trusted, now=now)
    weaknesses = (*_weaknesses(leaf, is_self_signed=facts["is_self_signed"]), *weak_cipher)
    return {**facts, "is_trusted": is_trusted, "problems": problems, "weaknesses": weaknesses}


def names_cover(names: Sequence[str], name: str) -> bool:
    """Whether one of the names is this one; a wildcard stands for the whole leftmost label (RFC 9525, 6.3)."""
    name = name.lower().rstrip(".")
    _, _, parent = name.partition(".")
    return any(known in (name, f"*.{parent}" if "." in parent else name) for known in (n.lower().rstrip(".") for n in names))


def _facts(leaf: x509.Certificate, *, name: str | None) -> dict[str, Any]:
    names = _names(leaf)
    return {
        "subject": said_text(leaf.subject.rfc4514_string(), limit=300) or "(empty)",
        "issuer": said_text(leaf.issuer.rfc4514_string(), limit=300) or "(empty)",
        "names": tuple(clean_text(each, limit=MAX_NAME_CHARS) for each in names[:MAX_NAMES]),
        "names_count": len(names),
        "not_before": leaf.not_valid_before_utc,
        "not_after": leaf.not_valid_after_utc,
        "key": _key(leaf),
        "signature": _hash_name(leaf),
        "fingerprint": leaf.fingerprint(SHA256()).hex(),
        "is_self_signed": _is_self_signed(leaf),
        "matches_name": None if name is None else names_cover(names, name),
    }


def _names(leaf: x509.Certificate) -> list[str]:
    """What the certificate is for. The common name no longer counts (RFC 9525, 2)."""
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = map(str, alternative.get_values_for_type(x509.IPAddress))
    return [*alternative.get_values_for_type(x509.DNSName), *addresses]


def _key(leaf: x509.Certificate) -> str | None:
    key = _public_key(leaf)
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return f"{'RSA' if isinstance(key, rsa.RSAPublicKey) else 'DSA'} {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_") if key is not None else None


def _public_key(leaf: x509.Certificate) -> CertificatePublicKeyTypes | None:
    """None for a kind that is not known here, which is neither weak nor strong."""
    try:
        return leaf.public_key()
    except UnsupportedAlgorithm:
        return None


def _hash_name(leaf: x509.Certificate) -> str | None:
    """The hash that the signature is made with; some kinds, like Ed25519, have none of their own."""
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    return algorithm.name if algorithm else None


def _is_self_signed(leaf: x509.Certificate) -> bool:
    if leaf.issuer != leaf.subject:
        return False
    try:
        leaf.verify_directly_issued_by(leaf)
    except (InvalidSignature, UnsupportedAlgorithm, *_UNREADABLE):
        return False
    return True


def _is_trusted(leaf: x509.Certificate, others: Sequence[bytes], *, now: datetime) -> bool:
    """Whether an authority of the common list vouches for it now; for which name is a question of its own.

    The verifier wants a subject: it is given one that the certificate itself names.
    """
    try:
        subject = _own_subject(leaf)
        verifier = PolicyBuilder().store(_AUTHORITIES).time(now.astimezone(UTC).replace(tzinfo=None))
        verifier.build_server_verifier(subject).verify(leaf, intermediates(others))
    except (VerificationError, UnsupportedAlgorithm, *_UNREADABLE):
        return False
    return True


def _own_subject(leaf: x509.Certificate) -> x509.DNSName | x509.IPAddress:
    for each in _names(leaf)[:MAX_NAMES]:
        try:
            return x509.IPAddress(ip_address(each))
        except ValueError:
            if not each.startswith("*."):
                return x509.DNSName(each)
            return x509.DNSName(f"any{each[1:]}")
    raise ValueError("a certificate without names")


def intermediates(others: Sequence[bytes]) -> list[x509.Certificate]:
    """As many as a chain may reasonably have, and as many as fit; none whose signatures take long to check."""
    found: list[x509.Certificate] = []
    left = MAX_CHAIN_BYTES
    for der in others[:MAX_CHAIN]:
        left -= len(der)
        if left < 0:
            break
        certificate = x509.load_der_x509_certificate(der)
        if not _is_slow(_public_key(certificate)):
            found.append(certificate)
    return found


def _is_slow(key: CertificatePublicKeyTypes | None) -> bool:
    """An RSA key of a size that no public authority has."""
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    return key.key_size > MAX_RSA_BITS or key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS


def _authorities() -> Store:
    """The authorities that browsers trust, as certifi lists them; one that cannot be read is left out."""
    text = Path(certifi.where()).read_bytes()
    listed = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    found = []
    for pem in listed:
        with suppress(ValueError):
            found.append(x509.load_pem_x509_certificate(pem))
    return Store(found)


with warnings.catch_warnings():  # some have a serial number of 0, which RFC 5280 forbids and browsers bear with
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    _AUTHORITIES = _authorities()


def _problems(leaf: x509.Certificate, facts: dict[str, Any], *, is_trusted: bool, now: datetime) -> tuple[str, ...]:
    found = []
    if now > leaf.not_valid_after_utc:
        found.append("expired")
    if now < leaf.not_valid_before_utc:
        found.append("not yet valid")
    if facts["is_self_signed"]:
        found.append("self-signed")
    elif not is_trusted and not found:  # an expired one is untrusted because it is expired
        found.append("untrusted chain")
    if facts["matches_name"] is False:
        found.append("hostname mismatch")
    return tuple(found)


def _weaknesses(leaf: x509.Certificate, *, is_self_signed: bool) -> tuple[str, ...]:
    """Of the server's own certificate. Nobody relies on the signature of one that signed itself."""
    found = []
    key = _public_key(leaf)
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey) and key.key_size < MIN_RSA_BITS:
        found.append(f"{_key(leaf)} key")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < MIN_EC_BITS:
        found.append(f"{_key(leaf)} key")
    if (algorithm := _hash_name(leaf)) in _WEAK_HASHES and not is_self_signed:
        found.append(f"{algorithm} signature")
    return tuple(found)
