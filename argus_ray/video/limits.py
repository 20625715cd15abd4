"""What one video may cost: plain numbers that the caller takes from its settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Checked against the header before anything is decoded, and against every picture while decoding."""

    max_duration_s: float = 24 * 3600
    max_pixels: int = 8192 * 4608
    """Of one coded picture; a stream may change its size at any keyframe."""
    max_video_frames: int = 10_000_000
    max_frames_kept: int = 200_000
    max_size_bytes: int = 100 * 2**30
