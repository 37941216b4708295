"""A newer file of a feed, from where it is published, through the gate that everything going out passes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from scans.core.egress import Egress, EgressRefusedError, Gate, origin
from scans.core.feeds.base import AnyFeed, FeedError
from scans.core.feeds.store import BUILT_IN, Record, Store
from scans.core.http import Http, HttpFailedError, Reply
from scans.core.options import Options

SECONDS = 60.0
MAX_TAG_CHARS = 200
SHRINKS_TO = 0.5  # of the entries that there were: what has fewer is rather half a file than a better world


class UpdateState(StrEnum):
    """What became of asking for a newer file."""

    NEW = "new"
    UNCHANGED = "unchanged"  # the publisher says that there is none
    NOT_DUE = "not due"  # not asked: it was a short while ago
    FAILED = "failed"  # what was there is still in use


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """The outcome for one feed."""

    feed: AnyFeed
    state: UpdateState
    reason: str = ""  # of a failure
    record: Record | None = None  # of the file that is in use now


def url_of(feed: AnyFeed, options: Options) -> str:
    """Where it is asked for; empty if it can only be imported."""
    return options.intel.urls.get(feed.name, feed.url)


def update(feed: AnyFeed, store: Store, options: Options, *, now: datetime, is_forced: bool = False) -> Update:
    """Ask for a newer file and take it in. Never raises for what a publisher does: that is a state."""
    try:
        before = store.record(feed)
    except FeedError:  # it is bad: all the more reason to get another
        before = None
    if not is_forced and before is not None and _is_recent(before, feed, now):
        return Update(feed=feed, state=UpdateState.NOT_DUE, record=before)
    try:
        return _asked(feed, store, options, before, now)
    except (FeedError, HttpFailedError, EgressRefusedError) as error:
        return Update(feed=feed, state=UpdateState.FAILED, reason=str(error), record=before)


def _asked(feed: AnyFeed, store: Store, options: Options, before: Record | None, now: datetime) -> Update:
    if not (url := url_of(feed, options)):
        raise FeedError(f"it has no fixed address: get it from {feed.homepage} and import it")
    own = before if before is not None and before.origin == url else None
    reply = _get(url, feed, options, own)
    if reply.status == 304 and own is not None:
        return Update(feed=feed, state=UpdateState.UNCHANGED, record=store.is_still_good(feed, own, at=now))
    if reply.status != 200:
        raise FeedError(f"HTTP {reply.status}")
    is_comparable = before is not None and before.origin != BUILT_IN
    made = store.put(
        feed,
        reply.body,
        origin=url,
        at=now,
        etag=_tag(reply, "ETag"),
        last_modified=_tag(reply, "Last-Modified"),
        least_entries=int(SHRINKS_TO * before.entries) if before is not None and is_comparable else 0,
    )
    return Update(feed=feed, state=UpdateState.NEW, record=made)


def _get(url: str, feed: AnyFeed, options: Options, own: Record | None) -> Reply:
    known = {"If-None-Match": own.etag, "If-Modified-Since": own.last_modified} if own is not None else {}
    http = Http(Gate(Egress(options, [url])), options.intel, max_body_bytes=feed.max_bytes, seconds=SECONDS)
    tags = {name: value for name, value in known.items() if value}
    return http.get(url, headers=tags, may_redirect=lambda to: origin(to) == origin(url))  # to today's file, not elsewhere


def _is_recent(record: Record, feed: AnyFeed, now: datetime) -> bool:
    return record.checked_at is not None and 0 <= (now - record.checked_at).total_seconds() < feed.refresh_seconds


def _tag(reply: Reply, name: str) -> str:
    """A header to send back as it came; one that could not be sent is as good as none."""
    said = reply.headers.get(name, "")
    return said if said.isascii() and said.isprintable() and len(said) <= MAX_TAG_CHARS else ""
