"""Verdicts: what a person says of a label on a frame as a whole. What models answered is shown apart from it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from argus_ray.annotating import labels_in_use
from argus_ray.catalog import frames, verdicts, videos
from argus_ray.errors import Forbidden, InvalidRequest
from argus_ray.schemas.annotation import Word
from argus_ray.schemas.common import Page
from argus_ray.schemas.verdict import FrameVerdicts, Verdict, VerdictPut, VerdictsGiven, VerdictsPut
from serve_apps.api.dependencies import MayMatch, Paging, ProjectId, UserTx, edit, paging, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["verdicts"], route_class=Route, responses=documented(401, 404, 422))

ByPlace = Annotated[Paging[verdicts.Place], Depends(paging(verdicts.Place))]


@router.get("/frames/{frame_id}/verdicts", operation_id="get_frame_verdicts")
async def get_frame_verdicts(frame_id: UUID, tx: UserTx) -> FrameVerdicts:
    """What people say of each label on a frame, and apart from it what models answered when they were asked."""
    frame = await tx.one(frames.get(frame_id))
    place = (frame.project_id, frame.video_id, frame.pts_us)
    return FrameVerdicts(
        verdicts=await tx.all(verdicts.of_frame(*place)), answers=await tx.all(verdicts.answers(*place))
    )


@router.put("/frames/{frame_id}/verdicts/{label_id}", operation_id="put_verdict", responses=documented(403, 409, 412))
async def put_verdict(
    frame_id: UUID, label_id: UUID, said: VerdictPut, versions: MayMatch, tx: UserTx, response: Response
) -> Verdict:
    """Say whether every instance of a label on a frame is annotated, none is there, or some may be missing.

    None is there only where no accepted annotation is; one that comes later makes the word `partial`.
    """
    frame = await tx.one(frames.get(frame_id))
    await labels_in_use(tx, frame.project_id, [label_id])
    place = (frame.project_id, frame.video_id, frame.pts_us, label_id)
    put = verdicts.put(*place, said.verdict, versions)
    return tagged(await edit(tx, put, verdicts.get(*place), versions), response)


@router.delete(
    "/frames/{frame_id}/verdicts/{label_id}",
    status_code=204,
    operation_id="delete_verdict",
    responses=documented(403),
)
async def delete_verdict(frame_id: UUID, label_id: UUID, tx: UserTx) -> None:
    """Take a verdict back. Again changes nothing."""
    frame = await tx.one(frames.get(frame_id))
    place = (frame.project_id, frame.video_id, frame.pts_us, label_id)
    if await tx.maybe(verdicts.delete(*place)) is None and await tx.maybe(verdicts.get(*place)) is not None:
        raise Forbidden("your role in this project does not allow that: ask an owner")


@router.post(
    "/projects/{project_id}/verdicts",
    operation_id="put_verdicts",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def put_verdicts(project_id: ProjectId, said: VerdictsPut, tx: UserTx) -> VerdictsGiven:
    """Say the same of many frames: at times of one video, or of all the frames that a target names; how many they are."""
    await labels_in_use(tx, project_id, [said.label_id])
    if said.target is not None:
        return VerdictsGiven(
            verdicts=await tx.one(verdicts.put_on(project_id, said.target, said.label_id, said.verdict))
        )
    assert said.video_id
    assert said.pts_us
    video = await tx.one(videos.get(said.video_id))
    if video.project_id != project_id:
        raise InvalidRequest(f"/video_id: the project has no video {said.video_id}")
    wanted = set(said.pts_us)
    given = await tx.one(verdicts.put_at(project_id, said.video_id, sorted(wanted), said.label_id, said.verdict))
    if given < len(wanted):
        raise InvalidRequest(
            f"/pts_us: {len(wanted) - given} of these times are no frames of the video: take the times of its frames"
        )
    return VerdictsGiven(verdicts=given)


@router.get("/projects/{project_id}/verdicts", operation_id="list_verdicts")
async def list_verdicts(
    project_id: ProjectId,
    page: ByPlace,
    tx: UserTx,
    video_id: UUID | None = None,
    label_id: UUID | None = None,
    verdict: Annotated[Word | None, Query()] = None,
) -> Page[Verdict]:
    """The project's verdicts, by video, time and label."""
    found = verdicts.page(
        project_id, video_id=video_id, label_id=label_id, verdict=verdict, after=page.after, rows=page.rows
    )
    return page.page(await tx.all(found), lambda row: (row.video_id, row.pts_us, row.label_id))
