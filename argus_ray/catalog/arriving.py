"""Annotations in bulk, as pipelines write them: a COPY into a temporary table, then set by set.

A model's proposals replace that model's own of the same labels on the frames that were asked, as far as nobody has touched
them: still proposed, at their first version, in no track that a person has had a hand in. What anybody else has made or
judged stays. A proposal's id is a function of the model, the place and the shape, so that one which was judged before is
not proposed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, LiteralString
from uuid import UUID, uuid5

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement, Tx, translated


@dataclass(frozen=True, slots=True)
class Arriving:
    """An annotation on its way in: a box, or the box around a mask or polygon, in fractions of the displayed picture.

    `counts` is the compressed RLE of a mask of the video's displayed size, `area_px` of it. Without an id it gets the one
    that `proposal_id` makes.
    """

    video_id: UUID
    pts_us: int
    label_id: UUID
    x: float | None = None
    y: float | None = None
    w: float | None = None
    h: float | None = None
    counts: str | None = None
    area_px: int | None = None
    score: float | None = None
    presence: float | None = None
    method: str | None = None
    track_id: UUID | None = None
    id: UUID | None = None
    kind: str = "mask"
    polygon: list[Any] | None = None
    points: list[Any] | None = None
    end_us: int | None = None
    outside: bool = False
    occluded: bool = False
    attributes: dict[str, Any] | None = None
    source: str = "model"
    state: str = "proposed"
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A model was asked for this label on this frame; `presence` is how sure it is that there is any."""

    video_id: UUID
    pts_us: int
    label_id: UUID
    presence: float | None = None


_TYPES = {
    "video_id": "uuid", "pts_us": "bigint", "label_id": "uuid", "x": "double precision", "y": "double precision",
    "w": "double precision", "h": "double precision", "counts": "text", "area_px": "integer", "score": "real",
    "presence": "real", "method": "text", "track_id": "uuid", "id": "uuid", "kind": "text", "polygon": "jsonb",
    "points": "jsonb", "end_us": "bigint", "outside": "boolean", "occluded": "boolean", "attributes": "jsonb",
    "source": "text", "state": "text", "author": "text",
}  # fmt: skip
assert list(_TYPES) == [field.name for field in fields(Arriving)]


def proposal_id(model_id: UUID, one: Arriving) -> UUID:
    """The same model, place and shape have the same id, whichever job proposes it."""
    shape = one.counts or f"{one.x:.5f} {one.y:.5f} {one.w:.5f} {one.h:.5f}"
    return uuid5(model_id, f"{one.video_id}/{one.pts_us}/{one.label_id}/{one.track_id}/{shape}")


def propose(
    tx: Tx, project_id: UUID, model_id: UUID, job_id: UUID | None, asked: Sequence[Asked], found: Sequence[Arriving]
) -> int:
    """Write what a model answers on frames it was asked about, and take back what it proposed there before; how many are
    new. Labels that were merged meanwhile go on as the ones that they went into.

    `found` may hold keyframes of tracks of this very job. Run it in the transaction that checks the fence.
    """
    now = {row["id"]: row["goes_on_as"] for row in tx.all(_hold_labels(project_id, {one.label_id for one in asked}))}
    rows = [replace(one, label_id=now[one.label_id]) for one in found]
    copy(tx, [one if one.id else replace(one, id=proposal_id(model_id, one)) for one in rows])
    questions = [{"video_id": str(q.video_id), "pts_us": q.pts_us, "label_id": str(now[q.label_id]), "presence": q.presence} for q in asked]  # fmt: skip
    tx.run(_answer(project_id, model_id, job_id, questions))
    tx.run(_take_back(project_id, model_id, job_id, questions))
    new = tx.run(insert(project_id, model_id, job_id))
    tx.run(_drop_empty_tracks(project_id, model_id, job_id, questions))
    return new


def copy(tx: Tx, rows: Iterable[Arriving]) -> None:
    """Load them into the transaction's table `arriving_annotations`, for `insert`."""
    columns = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
    with translated(), tx.connection.cursor() as cursor:
        cursor.execute(f"create temp table if not exists arriving_annotations ({columns}) on commit drop".encode())
        cursor.execute("truncate arriving_annotations")
        with cursor.copy("copy arriving_annotations from stdin") as out:
            for row in rows:
                out.write_row(_plain(row))


def insert(project_id: UUID, model_id: UUID | None, job_id: UUID | None) -> Statement[int]:
    """Those of `arriving_annotations` that are not there yet; tracks come before their keyframes."""
    return Statement(
        int,
        """
        insert into annotations (
          project_id, video_id, pts_us, id, label_id, track_id, kind, x, y, w, h, polygon, points, counts, area_px, end_us,
          outside, occluded, attributes, source, state, score, presence, method, author, model_id, job_id)
        select %(project_id)s, video_id, pts_us, coalesce(id, uuid_v7()), label_id, track_id, kind, x, y, w, h, polygon,
          points, counts, area_px, end_us, outside, occluded, coalesce(attributes, '{}'), source, state, score, presence,
          method, author, %(model_id)s, %(job_id)s
        from arriving_annotations
        on conflict do nothing
        """,
        project_id=project_id,
        model_id=model_id,
        job_id=job_id,
    )


def _hold_labels(project_id: UUID, label_ids: set[UUID]) -> Statement[dict[str, Any]]:
    """What each of these labels is by now. None is merged before the transaction ends."""
    return Statement(
        dict,
        """
        select id, coalesce(merged_into, id) as goes_on_as from labels
        where project_id = %(project_id)s and id = any (%(ids)s) order by id for share
        """,
        project_id=project_id,
        ids=list(label_ids),
    )


_QUESTIONS: LiteralString = """
    jsonb_to_recordset(%(asked)s) as q (video_id uuid, pts_us bigint, label_id uuid, presence real)
"""


def _answer(project_id: UUID, model_id: UUID, job_id: UUID | None, asked: list[dict[str, Any]]) -> Statement[None]:
    """Note what was asked, and how many of each were found."""
    return Statement(
        type(None),
        f"""
        insert into answers (project_id, video_id, pts_us, label_id, model_id, found, presence, job_id)
        select %(project_id)s, q.video_id, q.pts_us, q.label_id, %(model_id)s, coalesce(max(f.found), 0), max(q.presence),
          %(job_id)s
        from {_QUESTIONS}
        left join (select video_id, pts_us, label_id, count(*) as found from arriving_annotations group by 1, 2, 3) f
          using (video_id, pts_us, label_id)
        group by q.video_id, q.pts_us, q.label_id
        on conflict (project_id, video_id, pts_us, label_id, model_id) do update set
          found = excluded.found, presence = excluded.presence, job_id = excluded.job_id, at = now()
        """,
        project_id=project_id,
        model_id=model_id,
        job_id=job_id,
        asked=Jsonb(asked),
    )


def _take_back(project_id: UUID, model_id: UUID, job_id: UUID | None, asked: list[dict[str, Any]]) -> Statement[None]:
    """Delete the model's untouched proposals where it was asked again, but for keyframes of this job's own tracks."""
    return Statement(
        type(None),
        f"""
        delete from annotations a using {_QUESTIONS}
        where a.project_id = %(project_id)s and a.video_id = q.video_id and a.pts_us = q.pts_us and a.label_id = q.label_id
          and a.source = 'model' and a.model_id = %(model_id)s and a.state = 'proposed' and a.version = 1
          and (a.track_id is null or exists (
            select from tracks t
            where t.project_id = a.project_id and t.id = a.track_id and t.source = 'model' and t.state = 'proposed'
              and t.version = 1 and t.job_id is distinct from %(job_id)s
              and not exists (
                select from annotations k
                where k.project_id = t.project_id and k.track_id = t.id
                  and (k.source <> 'model' or k.state <> 'proposed' or k.version > 1))))
        """,
        project_id=project_id,
        model_id=model_id,
        job_id=job_id,
        asked=Jsonb(asked),
    )


def _drop_empty_tracks(
    project_id: UUID, model_id: UUID, job_id: UUID | None, asked: list[dict[str, Any]]
) -> Statement[None]:
    """Tracks of the model's earlier jobs of which nothing is left."""
    return Statement(
        type(None),
        f"""
        delete from tracks t using (select distinct q.video_id, q.label_id from {_QUESTIONS}) q
        where t.project_id = %(project_id)s and t.video_id = q.video_id and t.label_id = q.label_id and t.keyframes = 0
          and t.source = 'model' and t.model_id = %(model_id)s and t.state = 'proposed' and t.version = 1
          and t.job_id is distinct from %(job_id)s
        """,
        project_id=project_id,
        model_id=model_id,
        job_id=job_id,
        asked=Jsonb(asked),
    )


_JSON = [place for place, kind in enumerate(_TYPES.values()) if kind == "jsonb"]
_values: Callable[[Arriving], tuple[Any, ...]] = attrgetter(*_TYPES)


def _plain(row: Arriving) -> list[Any]:
    values = list(_values(row))
    for place in _JSON:
        if values[place] is not None:
            values[place] = Jsonb(values[place])
    return values
