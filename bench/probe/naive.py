"""The port scanners one would write first: a thread for each connection, or asyncio, and one second of patience.

python -m bench.probe.naive threads|asyncio TARGETS PORTS     # prints what `scans.core --format ndjson` would
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from itertools import product

from bench.lab.truth import ports_of

AT_ONCE = 500
TIMEOUT_SECONDS = 1.0

Pair = tuple[str, int]


def by_threads(pairs: list[Pair]) -> Iterator[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(_connect, pairs, chunksize=16)


def _connect(pair: Pair) -> str:
    try:
        socket.create_connection(pair, timeout=TIMEOUT_SECONDS).close()
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "filtered"
    return "open"


async def by_asyncio(pairs: list[Pair]) -> list[str]:
    todo, found = iter(enumerate(pairs)), [""] * len(pairs)

    async def work() -> None:
        for index, pair in todo:
            found[index] = await _open(pair)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


async def _open(pair: Pair) -> str:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(*pair)
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "filtered"
    writer.close()
    return "open"


def main() -> None:
    design, targets, ports = sys.argv[1:]
    addresses = [str(address) for address in ip_network(targets)]
    pairs = list(product(addresses, ports_of(ports)))
    states = list(by_threads(pairs)) if design == "threads" else asyncio.run(by_asyncio(pairs))
    found: dict[str, dict[str, list[int]]] = {address: {} for address in addresses}
    for (address, port), state in zip(pairs, states, strict=True):
        found[address].setdefault(state, []).append(port)
    for address, by_state in found.items():
        listed = {state: ",".join(map(str, numbers)) for state, numbers in by_state.items()}
        print(json.dumps({"ip_address": address, "port_states": listed}))


if __name__ == "__main__":
    main()
