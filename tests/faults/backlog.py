"""Three videos of a second or two of work, which a run is disturbed at."""

from __future__ import annotations

from tests.ingesting import Place

NAMES = ("a.mp4", "b.mp4", "c.mp4")
EVERY_FRAME = '{"policy": "every_frame", "dedupe": false}'
SETTINGS = {"extractors": 1, "segment_decode_frames": 100, "chunk_frames": 8, "lease_s": 3}


def upload(here: Place, clip: bytes) -> None:
    for name in NAMES:
        here.upload(clip, name, sampling=EVERY_FRAME)


def ended(here: Place) -> bool:
    return not {"uploaded", "processing"} & set(here.states())
