"""The hash by which search engines for services know a site's icon: MurmurHash3 of its base64 text.

As Shodan's `http.favicon.hash` and the tools that follow it have it: base64 in lines of 76 characters, each with its line
end, hashed by the 32-bit variant for x86 with seed 0, and told as a signed number. The same icon on two addresses often
means the same product, or the same owner. It proves nothing: anybody may show any icon.
"""

from __future__ import annotations

import base64
import struct

_WORD = 0xFFFFFFFF


def favicon_hash(icon: bytes) -> int:
    """From -2**31 up to 2**31 - 1."""
    hashed = murmur3(base64.encodebytes(icon))
    return hashed - (1 << 32) if hashed >> 31 else hashed


def murmur3(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, by Austin Appleby, who put it into the public domain (smhasher, MurmurHash3.cpp)."""
    whole, hashed = len(data) & ~3, 0
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        block = block * 0xCC9E2D51 & _WORD
        hashed ^= (block << 15 | block >> 17) * 0x1B873593 & _WORD  # of a product the low bits need the low bits alone
        hashed = (hashed << 13 | hashed >> 19) * 5 + 0xE6546B64 & _WORD
    block = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & _WORD
    hashed ^= (block << 15 | block >> 17) * 0x1B873593 & _WORD
    hashed ^= len(data)
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6B & _WORD
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & _WORD
    return hashed ^ hashed >> 16
