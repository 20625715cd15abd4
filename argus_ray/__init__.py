"""Argus turns a pile of video into something a team can search, label and learn from, on a Ray cluster."""

__version__ = "0.1.0"
