"""Sends a datagram to the scanner every 5 ms, on every path, until it is ended or ten minutes have passed."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

ADDRESSES = ("10.98.0.1", "10.97.0.1")


def main() -> None:
    ends_at = time.monotonic() + 600
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while time.monotonic() < ends_at:
            for address in ADDRESSES:
                with suppress(OSError):
                    sender.sendto(b"\0", (address, 9))
            time.sleep(0.005)


if __name__ == "__main__":
    main()
