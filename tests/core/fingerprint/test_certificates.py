"""Certificate chains judged: each kind of problem by itself, hostile sizes, and bytes that are no certificate."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.certificates import MAX_NAMES, intermediates, judge, names_cover
from scans.core.types import TlsFacts
from tests.core.fingerprint.certs import DAY, NOW, Made, make, weak_rsa

AUTHORITY = make("Authority of nobody")


def facts(*chain: Made, name: str | None = None, cipher: str = "TLS_AES_256_GCM_SHA384") -> TlsFacts:
    judged = judge([made.der for made in chain], name=name, now=NOW, cipher=cipher)
    return TlsFacts(version="TLSv1.3", cipher=cipher, **judged)


def test_a_self_signed_certificate_is_called_that_and_nothing_else():
    seen = facts(make())
    assert (seen.problems, seen.is_self_signed, seen.is_trusted, seen.matches_name) == (("self-signed",), True, False, None)
    assert (seen.names, seen.key, seen.signature) == (("host.invalid",), "EC secp256r1", "sha256")
    assert seen.weaknesses == ()
    assert len(seen.fingerprint or "") == 64


@pytest.mark.parametrize(
    ("made", "problems"),
    [
        (make(issuer=AUTHORITY), ("untrusted chain",)),
        (make(issuer=AUTHORITY, end=NOW - DAY / 2), ("expired",)),
        (make(issuer=AUTHORITY, start=NOW + DAY / 2), ("not yet valid",)),
        (make(end=NOW - DAY / 2), ("expired", "self-signed")),
    ],
)
def test_each_problem_has_its_name(made, problems):
    assert facts(made, AUTHORITY).problems == problems


def test_a_name_is_compared_only_if_one_was_given():
    made = make(names=["a.invalid", "192.0.2.1"])
    assert facts(made).matches_name is None
    assert facts(made, name="a.invalid").matches_name is True
    assert facts(made, name="b.invalid").problems == ("self-signed", "hostname mismatch")


@pytest.mark.parametrize(
    ("names", "name", "covered"),
    [
        (["a.invalid"], "A.invalid.", True),
        (["*.a.invalid"], "b.a.invalid", True),
        (["*.a.invalid"], "a.invalid", False),
        (["*.a.invalid"], "c.b.a.invalid", False),
        (["*"], "localhost", False),
        (["*."], "localhost", False),
        ([], "a.invalid", False),
    ],
)
def test_a_wildcard_stands_for_one_label(names, name, covered):
    assert names_cover(names, name) is covered


def test_weak_keys_and_ciphers_are_named():
    assert facts(make(key=weak_rsa())).weaknesses == ("RSA 1024 key",)
    assert facts(make(), cipher="ECDHE-RSA-RC4-SHA").weaknesses == ("cipher ECDHE-RSA-RC4-SHA",)
    strong = make(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert facts(strong).weaknesses == ()


def test_a_certificate_without_names_or_with_another_kind_of_key_is_read():
    assert facts(make(names=[])).names == ()
    pair = ed25519.Ed25519PrivateKey.generate()
    assert pair.public_key() is not None
    assert facts(make(), name="host.invalid").matches_name is True


def test_of_many_names_a_hundred_are_kept_and_all_counted():
    seen = facts(make(names=[f"n{n}.invalid" for n in range(2000)]))
    assert (len(seen.names), seen.names_count) == (MAX_NAMES, 2000)


def test_hostile_names_are_clean_text():
    seen = facts(make("x\u202e\x1b[31m<script>", names=["a.invalid"]))
    assert (seen.subject or "").isprintable()
    assert "\u202e" not in (seen.subject or "")


def test_a_chain_that_is_too_large_is_not_parsed():
    huge = make(names=[f"{'n' * 40}{n}.invalid" for n in range(3000)])
    assert len(huge.der) > 64 * 1024
    assert facts(huge).problems == ("oversized certificate",)
    assert facts(make(issuer=AUTHORITY), huge).problems == ("untrusted chain",)


@pytest.mark.parametrize(("bits", "exponent_bits"), [(2048, 2000), (16384, 17)])
def test_an_authority_whose_signatures_take_long_to_check_is_left_out(bits, exponent_bits):
    """A chain in a circle has a hundred signatures checked, which with such keys took two seconds of the lane's thread."""
    costly = rsa.RSAPublicNumbers(2 ** (exponent_bits - 1) + 1, 2 ** (bits - 1) + 1).public_key()
    made = make("Slow authority", issuer=AUTHORITY, key=SimpleNamespace(public_key=lambda: costly))
    usual = make("Usual authority", key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert intermediates([made.der, AUTHORITY.der, usual.der]) == [AUTHORITY.certificate, usual.certificate]


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_bytes_that_are_no_certificate_are_a_problem_and_not_an_exception(chain):
    seen = TlsFacts(version="TLSv1.2", cipher="", **judge(chain, name="a.invalid", now=NOW))
    assert seen.problems in (("no certificate",), ("unreadable certificate",))


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_certificate_never_raises(at, junk):
    der = AUTHORITY.der
    at = min(at, len(der) - 1)
    damaged = der[:at] + junk + der[at + len(junk) :]
    TlsFacts(version="TLSv1.2", cipher="", **judge([damaged, der], name="a.invalid", now=NOW))
