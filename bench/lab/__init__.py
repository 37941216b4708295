"""A private test internet: network namespaces on this machine, with thousands of hosts whose truth is known.

    .venv/bin/python -m bench.lab up wan40           # build it; prints what there is to find
    .venv/bin/python -m bench.lab profile lossy80    # another path to the same hosts
    .venv/bin/python -m bench.lab exec COMMAND ...   # run a command where the scanner stands
    .venv/bin/python -m bench.lab down               # leave no trace

    ipscan-here  10.98.0.1 ───────── a cable ───────── 10.98.0.2  ipscan-there: answers for all of 10.99.0.0/16
                 10.97.0.1 ──[ ipscan-wire: wire.c ]── 10.97.0.2

No namespace has a route to anywhere else, so no packet leaves the machine. A profile chooses the link that carries
10.99.0.0/16, and what the wire does to it: delay, jitter, loss. Everything in the truth table is drawn from a seed.
Needs root, iproute2, nftables, gcc and openssl.

The files: `truth` is who is there, `rules` who is silent or limits rates, `services` who listens, `wire.c` the path,
`network` puts it together.
"""
