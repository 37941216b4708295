"""What passes one end of a cable, with the kernel's own time of each packet: however late we look, none is counted late.

Needs root, or a network namespace of the caller's own.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address

ETH_P_ALL = 3  # what goes out is not shown to sockets that ask for one protocol only
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33  # Python has no names for them
SOL_PACKET, PACKET_STATISTICS = 263, 6
ROOM_BYTES = 64 << 20  # for what comes while this process stands still
ETHERNET_BYTES, TCP, SYN, ACK = 14, 6, 0x02, 0x10


class Wire:
    """The connections that were begun over an interface."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._begun: dict[bytes, tuple[float, IPv4Address, IPv4Address]] = {}

    def connections(self) -> list[tuple[float, IPv4Address, IPv4Address]]:
        """When each was begun, in seconds since the epoch, by whom and to whom. One that the kernel repeated counts once."""
        with suppress(BlockingIOError):
            while True:
                frame, ((_, _, moment), *_), _, _ = self._socket.recvmsg(ETHERNET_BYTES + 60 + 20, socket.CMSG_SPACE(16))
                self._read(frame[ETHERNET_BYTES:], *struct.unpack("ll", moment))
        _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert not dropped, f"{dropped} packets found no room"
        return sorted(self._begun.values())

    def _read(self, packet: bytes, seconds: int, nanoseconds: int) -> None:
        tcp = packet[4 * (packet[0] & 0x0F) :] if packet else b""
        if len(tcp) < 20 or packet[0] >> 4 != 4 or packet[9] != TCP or tcp[13] & (SYN | ACK) != SYN:
            return
        source, destination = packet[12:16], packet[16:20]
        ports_and_number = tcp[:8]
        ends = IPv4Address(source), IPv4Address(destination)
        self._begun.setdefault(source + destination + ports_and_number, (seconds + nanoseconds / 1e9, *ends))
