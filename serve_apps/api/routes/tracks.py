"""Tracks: objects through time. Annotators make, correct, cut and join them; everybody in the project reads."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from argus_ray import asking, tracking
from argus_ray.catalog import history, tracks, videos
from argus_ray.schemas.annotation import (
    HistoryEntry,
    Pieces,
    Restore,
    State,
    Track,
    TrackCreate,
    TrackEnd,
    TrackLink,
    TrackMerge,
    TrackRetrack,
    TrackSplit,
    TrackUpdate,
)
from argus_ray.schemas.common import Page
from argus_ray.schemas.job import Job, JobCreate, Retrack
from serve_apps.api.dependencies import IfMatch, MayMatch, Paging, Settings, UserTx, edit, paging, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["tracks"], route_class=Route, responses=documented(401, 404, 422))

ByNumber = Annotated[Paging[int], Depends(paging(int))]
"""Places are numbers of tracks, or versions."""
Microseconds = Query(ge=-(2**62), le=2**62)


@router.post(
    "/videos/{video_id}/tracks",
    status_code=201,
    operation_id="create_track",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def create_track(video_id: UUID, new: TrackCreate, tx: UserTx, response: Response) -> Track:
    """Follow an object by keyframes, at different times; between two of them it is interpolated."""
    video = await tx.one(videos.get(video_id))
    track = await tracking.create(tx, video, new)
    response.headers["Location"] = f"/v1/tracks/{track.id}"
    return tagged(track, response)


@router.get("/videos/{video_id}/tracks", operation_id="list_tracks")
async def list_tracks(
    video_id: UUID,
    page: ByNumber,
    tx: UserTx,
    from_us: Annotated[int | None, Microseconds] = None,
    to_us: Annotated[int | None, Microseconds] = None,
    label_id: Annotated[list[UUID] | None, Query(max_length=200)] = None,
    state: Annotated[list[State] | None, Query()] = None,
) -> Page[Track]:
    """The video's tracks by number; with times, those that are there at some time from `from_us` to before `to_us`."""
    video = await tx.one(videos.get(video_id))
    found = tracks.page(
        video.project_id,
        video_id,
        label_ids=label_id,
        states=state,
        from_us=from_us,
        to_us=to_us,
        after=page.after,
        rows=page.rows,
    )
    return page.page(await tx.all(found), lambda row: row.number)


@router.get("/tracks/{track_id}", operation_id="get_track")
async def get_track(track_id: UUID, tx: UserTx, response: Response) -> Track:
    """One track; its keyframes are annotations with its `track_id`."""
    return tagged(await tx.one(tracks.get(track_id)), response)


@router.patch("/tracks/{track_id}", operation_id="update_track", responses=documented(403, 409, 412, 428))
async def update_track(track_id: UUID, change: TrackUpdate, versions: IfMatch, tx: UserTx, response: Response) -> Track:
    """Relabel it, accept or reject it, or say something of it. Its keyframes follow its label, and its state where nobody has
    judged them apart from it.
    """
    before = await tx.one(tracks.get(track_id))
    row = await tracking.changes(tx, before, change)
    after = await edit(tx, tracks.update(track_id, row, versions), tracks.get(track_id), versions)
    return tagged(await tracking.follow(tx, before, after), response)


@router.delete("/tracks/{track_id}", status_code=204, operation_id="delete_track", responses=documented(403, 412, 428))
async def delete_track(track_id: UUID, versions: IfMatch, tx: UserTx) -> None:
    """Delete it whole, with its keyframes. To delete it from a time on, `POST /v1/tracks/{track_id}:end`."""
    gone = await edit(tx, tracks.delete(track_id, versions), tracks.get(track_id), versions)
    await tx.run(tracks.delete_keyframes(gone.project_id, track_id))


@router.post(
    "/tracks/{track_id}:split",
    status_code=201,
    operation_id="split_track",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def split_track(track_id: UUID, asked: TrackSplit, versions: MayMatch, tx: UserTx) -> Pieces:
    """Make two tracks of it: `other` begins at `at_us`. Nothing that was seen looks different."""
    return await tracking.split(tx, await _taken(tx, track_id, versions), asked.at_us)


@router.post(
    "/tracks/{track_id}:merge",
    operation_id="merge_track",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def merge_track(track_id: UUID, asked: TrackMerge, versions: MayMatch, tx: UserTx, response: Response) -> Track:
    """Take the keyframes of another track of the video, under the label of this one; the other is deleted.

    Where both have a keyframe at one time, one that says `outside` gives way; two that are to be seen are a 409.
    """
    return tagged(await tracking.merge(tx, await _taken(tx, track_id, versions), asked.track_id), response)


@router.post(
    "/tracks/{track_id}:end",
    operation_id="end_track",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def end_track(track_id: UUID, asked: TrackEnd, versions: MayMatch, tx: UserTx, response: Response) -> Track:
    """Delete it from `at_us` on."""
    return tagged(await tracking.end(tx, await _taken(tx, track_id, versions), asked.at_us), response)


@router.post(
    "/tracks/{track_id}:retrack",
    status_code=202,
    operation_id="retrack_track",
    dependencies=[Idempotent],
    responses=documented(403, 409, 503),
)
async def retrack_track(track_id: UUID, asked: TrackRetrack, tx: UserTx, settings: Settings, response: Response) -> Job:
    """Let the model follow it again from a corrected keyframe, both ways, as far as the next keyframe that a person made or
    accepted; the job. Whoever may correct a keyframe may ask for it.
    """
    track = await tx.one(tracks.get(track_id))
    spec = Retrack(track_id=track_id, pts_us=asked.pts_us)
    job = await asking.ask(tx, track.project_id, JobCreate(spec=spec), sam3_model=settings.sam3_model)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/tracks/{track_id}/history", operation_id="list_track_history")
async def list_track_history(track_id: UUID, page: ByNumber, tx: UserTx) -> Page[HistoryEntry]:
    """Its earlier versions, latest first, and who replaced each; of a deleted one too."""
    await tx.one(tracks.get_even_deleted(track_id))
    return page.page(await tx.all(history.page(track_id, after=page.after, rows=page.rows)), lambda row: row.version)


@router.post(
    "/tracks/{track_id}:restore",
    operation_id="restore_track",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def restore_track(track_id: UUID, asked: Restore, versions: MayMatch, tx: UserTx, response: Response) -> Track:
    """Its label, attributes and state as they were at an earlier version; a deleted one is there again, with the keyframes
    that were deleted with it.
    """
    await tracking.check_restorable(tx, track_id, asked.version)
    await tx.run(tracks.restore_keyframes(track_id))
    restored = tracks.restore(track_id, asked.version, versions)
    return tagged(await edit(tx, restored, tracks.get_even_deleted(track_id), versions), response)


# -- links -----------------------------------------------------------------------------------------


@router.get("/tracks/{track_id}/links", operation_id="list_track_links")
async def list_track_links(track_id: UUID, tx: UserTx) -> Page[TrackLink]:
    """Where a job has joined pieces of it over the borders of segments, and why; and where people have cut it there."""
    track = await tx.one(tracks.get(track_id))
    return Page[TrackLink](items=await tx.all(tracks.links(track)))


@router.post(
    "/track-links/{link_id}:cut",
    operation_id="cut_track_link",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def cut_track_link(link_id: UUID, tx: UserTx) -> TrackLink:
    """Say that the two pieces are not one object: what comes after the border is `other_track_id` from now on."""
    return await tracking.cut(tx, link_id)


@router.post(
    "/track-links/{link_id}:join",
    operation_id="join_track_link",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def join_track_link(link_id: UUID, tx: UserTx) -> TrackLink:
    """Say that the two pieces are one object after all."""
    return await tracking.join(tx, link_id)


async def _taken(tx: UserTx, track_id: UUID, versions: list[int] | None) -> Track:
    """The track, which is a person's from now on, and nobody else's to change before the transaction ends."""
    return await edit(tx, tracks.take(track_id, versions), tracks.get(track_id), versions)
