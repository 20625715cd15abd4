"""Joining: when the last segment of a video has ended, its pieces become tracks, in that very transaction.

One assignment over all borders of the video decides (annotations/stitching.py), so that the result is the same in
whatever order the segments ended, and whatever died meanwhile. Memory is that of a few shapes of each piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

import numpy as np

from argus_ray.annotations.stitching import Link, Span, Track, Tracklet, ends, stitch, surviving
from argus_ray.catalog import labelling, tracklets
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.tracklets import Piece
from argus_ray.rle import Rle


def join_pieces(tx: Tx, *, project_id: UUID, job_id: UUID, video_id: UUID, model_id: UUID) -> int:
    """Make tracks of what the job's segments have followed in a video; how many. What people touched stays as it is."""
    pieces = {piece.id: piece for piece in tx.all(tracklets.pieces(project_id, job_id, video_id)) if piece.times_us}
    spans = [Span(one.segment, one.start_us, one.end_us) for one in tx.all(tracklets.ranges(job_id, video_id))]
    video = tx.one(labelling.filmed(project_id, video_id))
    shaped = _shaped(tx, project_id, video_id, list(pieces.values()), spans, (video.height, video.width))
    tracks = stitch(shaped, spans)
    for track in tracks:
        _merge(tx, project_id, track, pieces)
    links = [_row(job_id, track, link) for track in tracks for link in track.links]
    tx.run(tracklets.link(project_id, video_id, job_id=job_id, rows=links))
    whole = [track.tracklets[0] for track in tracks]
    for aside in (True, False):
        tx.run(tracklets.number(project_id, video_id, whole, aside=aside))
    tx.run(tracklets.forget_outside(project_id, whole))
    tx.run(tracklets.mark_outside(project_id, whole, job_id=job_id, model_id=model_id))
    return len(tracks)


def _shaped(
    tx: Tx, project_id: UUID, video_id: UUID, pieces: Sequence[Piece], spans: Sequence[Span], size: tuple[int, int]
) -> list[Tracklet]:
    """Pieces with those shapes alone that stitching looks at."""
    wanted = [(piece.id, pts_us) for piece in pieces for pts_us in _looked_at(piece, spans, size)]
    shapes: dict[UUID, dict[int, Rle]] = {}
    for one in tx.all(tracklets.shapes(project_id, video_id, wanted)):
        shapes.setdefault(one.track_id, {})[one.pts_us] = Rle(size, one.counts)
    return [
        Tracklet(
            id=piece.id,
            label_id=piece.label_id,
            segment=piece.segment,
            shapes=shapes[piece.id],
            first_crop=None if piece.first_vector is None else np.array(piece.first_vector, np.float32),
            last_crop=None if piece.last_vector is None else np.array(piece.last_vector, np.float32),
        )
        for piece in pieces
        if piece.id in shapes
    ]


def _looked_at(piece: Piece, spans: Sequence[Span], size: tuple[int, int]) -> list[int]:
    nearby = [span for span in spans if abs(span.segment - piece.segment) <= 1]
    shapes = dict.fromkeys(piece.times_us, Rle(size, ""))
    return list(ends(Tracklet(piece.id, piece.label_id, piece.segment, shapes), nearby).shapes)


def _merge(tx: Tx, project_id: UUID, track: Track, pieces: dict[UUID, Piece]) -> None:
    """The first piece becomes the track. Of two pieces that have seen it at one time, one keyframe stays."""
    first, *others = track.tracklets
    if not others:
        return
    times = [pieces[one].times_us for one in track.tracklets]
    tx.run(tracklets.forget_outside(project_id, list(track.tracklets)))
    for one, had, kept in zip(track.tracklets, times, surviving(times, track.links), strict=True):
        gone = sorted(set(had) - set(kept))
        if gone:
            tx.run(tracklets.drop_times(project_id, one, gone))
    tx.run(tracklets.join(project_id, first, others))
    tx.run(tracklets.forget(project_id, others))


def _row(job_id: UUID, track: Track, link: Link) -> dict[str, object]:
    return {
        "id": str(uuid5(job_id, f"{link.from_tracklet}/{link.to_tracklet}")),
        "track_id": str(track.tracklets[0]),
        "border_us": link.border_us,
        "iou": link.iou,
        "similarity": link.similarity,
        "score": link.score,
    }
