"""Port scanners side by side in the lab, interleaved, and scored against what is really there.

    .venv/bin/python -m bench.probe                                    # the usual cells against nmap, masscan, naive designs
    .venv/bin/python -m bench.probe --cells lan:w1,lossy80:w2 --rounds 5 --peers nmap-sT-tuned
    .venv/bin/python -m bench.probe --floor                            # the loop's own cost, against the same calls from C

A cell is PROFILE:WORKLOAD of `bench.lab`. Every run is a process of its own, its wall time includes its start, and one
that misses a port says so: a fast wrong answer is no result. Needs what the lab needs, and nmap and masscan where named.

`--standing` uses a lab that is up already.

The files: `peers` is who takes part and how to read what they print, `naive` the designs one would write first, `runs`
one measured run, `score` right and wrong, `tables` what is printed, `floor` and `floor.c` the cost of the loop itself.
"""
