"""Verdicts: a person's word on one (frame, label). What models have answered stands apart from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.job import Target
from argus_ray.schemas.verdict import Answer, Verdict

_VERDICT: LiteralString = """
    v.project_id, v.video_id, v.pts_us, v.label_id, v.verdict, v.author, v.version, v.updated_at
"""
_ANSWER: LiteralString = """
    a.project_id, a.video_id, a.pts_us, a.label_id, a.model_id, a.found, a.presence, a.job_id, a.at
"""

Place = tuple[UUID, int, UUID]
"""(video_id, pts_us, label_id)"""


def put(
    project_id: UUID, video_id: UUID, pts_us: int, label_id: UUID, verdict: str, versions: list[int] | None
) -> Statement[Verdict]:
    """Say it, or say something else; again changes nothing. No row where it is of another version by now."""
    return Statement(
        Verdict,
        f"""
        insert into verdicts as v (project_id, video_id, pts_us, label_id, verdict)
        values (%(project_id)s, %(video_id)s, %(pts_us)s, %(label_id)s, %(verdict)s)
        on conflict (project_id, video_id, pts_us, label_id) do update set verdict = excluded.verdict
          where %(versions)s::bigint[] is null or v.version = any (%(versions)s)
        returning {_VERDICT}
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=pts_us,
        label_id=label_id,
        verdict=verdict,
        versions=versions,
    )


def get(project_id: UUID, video_id: UUID, pts_us: int, label_id: UUID) -> Statement[Verdict]:
    return Statement(
        Verdict,
        f"""
        select {_VERDICT} from verdicts v
        where v.project_id = %(project_id)s and v.video_id = %(video_id)s and v.pts_us = %(pts_us)s
          and v.label_id = %(label_id)s
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=pts_us,
        label_id=label_id,
    )


def delete(project_id: UUID, video_id: UUID, pts_us: int, label_id: UUID) -> Statement[UUID]:
    """Take it back."""
    return Statement(
        UUID,
        """
        delete from verdicts
        where project_id = %(project_id)s and video_id = %(video_id)s and pts_us = %(pts_us)s and label_id = %(label_id)s
        returning label_id
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=pts_us,
        label_id=label_id,
    )


def of_frame(project_id: UUID, video_id: UUID, pts_us: int) -> Statement[Verdict]:
    return Statement(
        Verdict,
        f"""
        select {_VERDICT} from verdicts v
        where v.project_id = %(project_id)s and v.video_id = %(video_id)s and v.pts_us = %(pts_us)s order by v.label_id
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=pts_us,
    )


def answers(project_id: UUID, video_id: UUID, pts_us: int) -> Statement[Answer]:
    """What models have answered on a frame."""
    return Statement(
        Answer,
        f"""
        select {_ANSWER} from answers a
        where a.project_id = %(project_id)s and a.video_id = %(video_id)s and a.pts_us = %(pts_us)s
        order by a.label_id, a.model_id
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=pts_us,
    )


def put_at(project_id: UUID, video_id: UUID, pts_us: Sequence[int], label_id: UUID, verdict: str) -> Statement[int]:
    """The same word on those of these times that are frames of the video; one row with how many."""
    return Statement(
        int,
        """
        with given as (
          insert into verdicts (project_id, video_id, pts_us, label_id, verdict)
          select f.project_id, f.video_id, f.pts_us, %(label_id)s, %(verdict)s from frames f
          where f.project_id = %(project_id)s and f.video_id = %(video_id)s and f.pts_us = any (%(pts_us)s)
          on conflict (project_id, video_id, pts_us, label_id) do update set verdict = excluded.verdict
          returning 1
        )
        select count(*) as given from given
        """,
        project_id=project_id,
        video_id=video_id,
        pts_us=list(pts_us),
        label_id=label_id,
        verdict=verdict,
    )


def put_on(project_id: UUID, target: Target, label_id: UUID, verdict: str) -> Statement[int]:
    """The same word on all the frames of a target; one row with how many."""
    return Statement(
        int,
        """
        with given as (
          insert into verdicts (project_id, video_id, pts_us, label_id, verdict)
          select %(project_id)s, t.video_id, t.pts_us, %(label_id)s, %(verdict)s
          from target_frames(%(project_id)s, %(target)s) t
          on conflict (project_id, video_id, pts_us, label_id) do update set verdict = excluded.verdict
          returning 1
        )
        select count(*) as given from given
        """,
        project_id=project_id,
        target=target,
        label_id=label_id,
        verdict=verdict,
    )


def page(
    project_id: UUID,
    *,
    video_id: UUID | None = None,
    label_id: UUID | None = None,
    verdict: str | None = None,
    after: Place | None,
    rows: int,
) -> Statement[Verdict]:
    """By video, time and label."""
    after_video, after_us, after_label = after or (None, None, None)
    return Statement(
        Verdict,
        f"""
        select {_VERDICT} from verdicts v
        where v.project_id = %(project_id)s
          and (%(video_id)s::uuid is null or v.video_id = %(video_id)s)
          and (%(label_id)s::uuid is null or v.label_id = %(label_id)s)
          and (%(verdict)s::text is null or v.verdict = %(verdict)s)
          and (%(after_video)s::uuid is null
               or (v.video_id, v.pts_us, v.label_id) > (%(after_video)s, %(after_us)s::bigint, %(after_label)s::uuid))
        order by v.video_id, v.pts_us, v.label_id limit %(rows)s
        """,
        project_id=project_id,
        video_id=video_id,
        label_id=label_id,
        verdict=verdict,
        after_video=after_video,
        after_us=after_us,
        after_label=after_label,
        rows=rows,
    )
