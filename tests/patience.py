"""How long tests wait. Machines stand still for many seconds, and some are twenty times slower: none is asked to be quick.

What must come is waited for until only a hang explains that it is not there. What must not be waited for lasts for ages, so
that whoever waits for it all the same is found out by a limit that no machine exceeds.
"""

PATIENCE = 240.0  # seconds after which what should have come never will
AT_ONCE = 30.0  # seconds; whoever needs more has waited for something that lasts
AGES = 300.0  # seconds
