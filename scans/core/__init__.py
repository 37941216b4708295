"""The scanner: plain Python without Django, usable from a script (`python -m scans.core`)."""
