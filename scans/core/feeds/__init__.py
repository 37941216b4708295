"""List files and databases on this machine: what a feed is, where its file lies, and how it gets there.

base.py      Feed, what its file holds, and what can be wrong with it
text.py      lists of lines: decoding, and how many unreadable ones a file may have
networks.py  which networks of a list hold an address
store.py     the directory: the last good file of each feed, what is known of it, its table kept per process
fetch.py     a newer file from where a feed is published, through the one gate
seed/        small files that come with the program, in the format of the feed they stand in for
"""

from __future__ import annotations

from scans.core.feeds.base import AnyFeed, Contents, Feed, FeedError, FeedMissingError
from scans.core.feeds.fetch import Update, UpdateState, update, url_of
from scans.core.feeds.networks import NetworkTable, unmapped
from scans.core.feeds.store import Loaded, Record, Store
from scans.core.feeds.text import Sieve, address_of, from_epoch, json_object, moment, network_of, numbered_lines

__all__ = [
    "AnyFeed",
    "Contents",
    "Feed",
    "FeedError",
    "FeedMissingError",
    "Loaded",
    "NetworkTable",
    "Record",
    "Sieve",
    "Store",
    "Update",
    "UpdateState",
    "address_of",
    "from_epoch",
    "json_object",
    "moment",
    "network_of",
    "numbered_lines",
    "unmapped",
    "update",
    "url_of",
]
