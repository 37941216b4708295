"""Recordings: everything a scan was told from outside, kept so that the same scan can be run again without a network.

    record: the usual lanes, each with a tee ──► lines.py ──► a file of JSON lines
    replay: the file ──► lanes that answer from it, the usual parsers, rules and pipeline ──► what differs

docs/recording.md describes the file.
"""

from scans.core.recording.lines import RecordingError
from scans.core.recording.record import record
from scans.core.recording.replay import Difference, read_recording, replay

__all__ = ["Difference", "RecordingError", "read_recording", "record", "replay"]
