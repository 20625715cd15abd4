"""A room where people review: the API, a project with people of every role, one label, and a model that finds things."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import psycopg

from argus_ray.catalog import embeddings, frames, models
from argus_ray.catalog.statement import Tx
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from tests.library import Library, library
from tests.people import person_id

SECOND = 1_000_000
DIM = 16


@dataclass
class Room:
    """A project with people of every role, one label and one model that finds things."""

    library: Library
    people: Mapping[str, httpx.Client]
    project_id: UUID
    label_id: UUID
    model_id: UUID
    vectors: int

    def call(self, who: str, what: str, **body: Any) -> httpx.Response:
        return self.people[who].post(f"/v1/projects/{self.project_id}/{what}", json=body)

    def next(self, who: str = "ann", **asked: Any) -> list[dict[str, Any]]:
        answer = self.call(who, "review:next", **asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def label(self, name: str, project_id: UUID | None = None) -> UUID:
        (row,) = self.library.sql(
            "insert into labels (project_id, name, colour, prompts) values (%s, %s, '#000000', %s) returning id",
            project_id or self.project_id, name, [name],
        )  # fmt: skip
        return row["id"]

    def video(self, seconds: int, vectors: Sequence[Any] | None = None) -> UUID:
        """A ready video with a frame a second."""
        (video,) = self.library.sql(
            "insert into videos (project_id, name, state) values (%s, 'v', 'ready') returning id", self.project_id
        )
        (job,) = self.library.sql(
            "insert into jobs (project_id, kind, video_id, state, finished_at) values (%s, 'ingest', %s, 'succeeded', now())"
            " returning id", self.project_id, video["id"],
        )  # fmt: skip
        ones = np.ones(seconds, np.int32)
        pts = np.arange(seconds, dtype=np.int64) * SECOND
        given = np.stack(vectors) if vectors is not None else np.eye(seconds, DIM, dtype=np.float32)
        with self.library.worker.transaction() as tx:
            frames.copy(tx, video["id"], frames.Arriving(pts, ones, ones, ones, given))
            tx.run(frames.upsert(self.project_id, video["id"], job_id=job["id"], segment_number=0, why="fps"))
            if vectors is not None:
                tx.run(embeddings.upsert(self.project_id, video["id"], model_number=self.vectors))
        return video["id"]

    def propose(self, video_id: UUID, pts_us: int, score: float | None = 0.5, **more: Any) -> UUID:
        """As the model does."""
        row = {
            "project_id": self.project_id, "video_id": video_id, "pts_us": pts_us, "label_id": self.label_id,
            "kind": "box", "x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2, "source": "model", "state": "proposed", "score": score,
            "model_id": self.model_id, **more,
        }  # fmt: skip
        columns = ", ".join(row)
        with self.library.worker.transaction() as tx:
            cursor = tx.connection.execute(
                f"insert into annotations ({columns}) values ({', '.join(['%s'] * len(row))}) returning id".encode(),
                list(row.values()),
            )
            return cursor.fetchone()[0]

    def answer(self, video_id: UUID, pts_us: int, found: int, presence: float, label_id: UUID | None = None) -> None:
        self.library.sql(
            "insert into answers (project_id, video_id, pts_us, label_id, model_id, found, presence) values (%s, %s, %s, %s, %s, %s, %s)",
            self.project_id, video_id, pts_us, label_id or self.label_id, self.model_id, found, presence,
        )  # fmt: skip

    def track(self, video_id: UUID, first_us: int, last_us: int, score: float = 0.9, **box: float) -> UUID:
        """A track of the model's with a keyframe a second."""
        (row,) = self.library.sql(
            "insert into tracks (project_id, video_id, label_id, start_us, end_us, source, state, model_id)"
            " values (%s, %s, %s, %s, %s, 'model', 'proposed', %s) returning id",
            self.project_id, video_id, self.label_id, first_us, last_us, self.model_id,
        )  # fmt: skip
        for pts_us in range(first_us, last_us + 1, SECOND):
            self.propose(video_id, pts_us, score, track_id=row["id"], **box)
        return row["id"]

    def annotation(self, annotation_id: UUID | str) -> dict[str, Any]:
        return self.library.sql("select * from annotations where id = %s", annotation_id)[0]

    @contextmanager
    def acting(self, who: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction as this person, in Postgres itself."""
        claims = {"role": "authenticated", "sub": str(person_id(f"{who}@example.org"))}
        with self.library.owner.transaction():
            self.library.owner.execute("set local role authenticated")
            self.library.owner.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            yield self.library.owner

    def say(self, state: str, *annotation_ids: UUID, who: str = "ann", change: str = "") -> None:
        """A person's word on annotations, as the API would write it."""
        with self.acting(who) as connection:
            connection.execute(
                f"update annotations set state = %s{change} where id = any (%s)".encode(), (state, list(annotation_ids))
            )

    def judge(self, video_id: UUID, judged: Sequence[tuple[float, bool]], model_id: UUID | None = None) -> None:
        """Proposals with these scores, each accepted by a person or rejected."""
        for state in ("accepted", "rejected"):
            scores = [score for score, accepted in judged if accepted == (state == "accepted")]
            made = self.library.sql(
                "insert into annotations (project_id, video_id, pts_us, label_id, kind, x, y, w, h, source, state, model_id, score)"
                " select %s, %s, 0, %s, 'box', 0, 0, 0.1, 0.1, 'model', 'proposed', %s, s from unnest(%s::real[]) s returning id",
                self.project_id, video_id, self.label_id, model_id or self.model_id, scores,
            )  # fmt: skip
            self.say(state, *(row["id"] for row in made))


@dataclass
class House:
    """What rooms share: one library, its people, and the models that are registered there."""

    library: Library
    people: Mapping[str, httpx.Client]
    model_id: UUID
    vectors: int

    def room(self) -> Room:
        """A new project in it."""
        olga = self.people["olga"]
        members = {role: self.people[who] for role, who in (("editor", "ed"), ("annotator", "ann"), ("viewer", "vic"))}
        project_id = self.library.project(olga, **members)
        invited = {"email": "bob@example.org", "role": "annotator"}
        olga.post(f"/v1/projects/{project_id}/members", json=invited).raise_for_status()
        self.people["bob"].get("/v1/projects").raise_for_status()
        room = Room(self.library, self.people, project_id, UUID(int=0), self.model_id, self.vectors)
        room.label_id = room.label("red car")
        return room


@contextmanager
def house(postgres: Postgres, s3: SeaweedFS) -> Iterator[House]:
    with library(postgres, s3) as made, ExitStack() as stack:
        (sam3,) = made.sql("select register_weights('sam3', 'demo:sam3', 'abc', 128, null) as number")
        (row,) = made.sql("select id from models where number = %s", sam3["number"])
        with made.owner.transaction():
            made.owner.execute("set local role argus_registrar")
            number = Tx(made.owner).one(
                models.register(
                    family="siglip2", uri="axes", weights_id="axes", dim=DIM, image_size=8, logit_scale=1, logit_bias=0
                )
            )
        names = ("olga", "ed", "ann", "bob", "vic")
        people = {name: stack.enter_context(made.person(f"{name}@example.org")) for name in names}
        yield House(made, people, row["id"], number)
