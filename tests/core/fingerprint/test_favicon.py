"""The hash of an icon: the published values of the function, and that of the text that is hashed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.favicon import favicon_hash, murmur3


@pytest.mark.parametrize(
    ("text", "hashed"),
    [  # the values that implementations in other languages are tested with, seed 0
        (b"", 0),
        (b"hello", 0x248BFA47),
        (b"hello, world", 0x149BBB7F),
        (b"19 Jan 2038 at 3:14:07 AM", 0xE31E8A70),
        (b"The quick brown fox jumps over the lazy dog.", 0xD5C48BFC),
    ],
)
def test_it_is_the_function_that_everybody_has(text, hashed):
    assert murmur3(text) == hashed


def test_what_is_hashed_is_base64_in_lines_and_what_comes_of_it_has_a_sign():
    assert favicon_hash(b"hello") == _signed(murmur3(b"aGVsbG8=\n"))
    assert favicon_hash(b"x" * 60) == _signed(murmur3(b"eHh4" * 19 + b"\n" + b"eHh4\n"))


@given(st.binary(max_size=300))
def test_it_fits_into_32_bits(icon):
    assert -(2**31) <= favicon_hash(icon) < 2**31


def _signed(hashed: int) -> int:
    return int.from_bytes(hashed.to_bytes(4, "big"), "big", signed=True)
