"""An annotated project for tests of datasets: videos with pictures in S3, labels, tracks and verdicts, written as their
owners would have."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from PIL import Image

from argus_ray.catalog.frames import frame_id
from argus_ray.datasets.freezing import freeze
from argus_ray.pipelines import pieces
from argus_ray.s3 import frame_key
from tests.library import Library

WIDTH, HEIGHT = 64, 48


@dataclass
class Annotated:
    place: Library = field(repr=False)
    project_id: UUID
    labels: dict[str, UUID] = field(default_factory=dict)

    def label(self, name: str, **columns: Any) -> UUID:
        values = {"project_id": self.project_id, "name": name, "colour": "#0072b2", "prompts": [name], **columns}
        self.labels[name] = self._insert("labels", values)
        return self.labels[name]

    def video(self, name: str, *frames_us: int, pictures: bool = True, **columns: Any) -> UUID:
        """A ready one, with a picture at each of those times."""
        values = {
            "project_id": self.project_id, "name": name, "state": "ready", "width": WIDTH, "height": HEIGHT,
            "frame_rate": 25.0, "size_bytes": 1000, "start_us": 0, **columns,
        }  # fmt: skip
        video_id = self._insert("videos", values)
        self.place.sql("update videos set ready_at = now() where id = %s", video_id)
        job_id = self._insert("jobs", {"project_id": self.project_id, "kind": "ingest", "video_id": video_id})
        self.place.sql("update jobs set state = 'succeeded', finished_at = now() where id = %s", job_id)
        self.place.sql("update segments set state = 'done' where job_id = %s", job_id)
        with (
            self.place.owner.cursor() as cursor,
            cursor.copy(
                "copy frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why) from stdin"
            ) as copy,
        ):
            for pts_us in frames_us:
                copy.write_row(
                    (
                        self.project_id,
                        video_id,
                        pts_us,
                        frame_id(video_id, pts_us),
                        job_id,
                        0,
                        WIDTH,
                        HEIGHT,
                        1000,
                        "fps",
                    )
                )
        if pictures:
            self.place.s3.put_frames(
                [
                    (frame_key(self.project_id, video_id, pts_us), picture(hash((name, pts_us)) & 0xFFFF))
                    for pts_us in frames_us
                ]
            )
        return video_id

    def track(self, video_id: UUID, label: str, **columns: Any) -> UUID:
        values = {
            "project_id": self.project_id,
            "video_id": video_id,
            "label_id": self.labels[label],
            "source": "human",
            "state": "accepted",
            **columns,
        }
        return self._insert("tracks", values)

    def box(
        self, video_id: UUID, pts_us: int, label: str, box: tuple[float, float, float, float], **columns: Any
    ) -> UUID:
        x, y, w, h = box
        values = {
            "project_id": self.project_id, "video_id": video_id, "pts_us": pts_us, "label_id": self.labels[label],
            "kind": "box", "x": x, "y": y, "w": w, "h": h, "source": "human", "state": "accepted", **columns,
        }  # fmt: skip
        return self._insert("annotations", values)

    def verdict(self, video_id: UUID, pts_us: int, label: str, verdict: str) -> None:
        self.place.sql(
            "insert into verdicts (project_id, video_id, pts_us, label_id, verdict) values (%s, %s, %s, %s, %s)",
            self.project_id, video_id, pts_us, self.labels[label], verdict,
        )  # fmt: skip

    def vector(self, video_id: UUID, pts_us: int, values: Any, model_number: int) -> None:
        """Of unit length, whatever its values are."""
        unit = np.asarray(values) / np.linalg.norm(values)
        self.place.sql(
            "insert into embeddings (project_id, video_id, pts_us, model_number, embedding) values (%s, %s, %s, %s, %s::halfvec)",
            self.project_id, video_id, pts_us, model_number, str(list(map(float, unit))),
        )  # fmt: skip

    def dataset(self, name: str = "", **query: Any) -> UUID:
        splits = query.pop("splits", {})
        values = {
            "project_id": self.project_id,
            "name": name or f"a dataset {uuid4()}",
            "query": query,
            "splits": splits,
        }
        return self._insert("datasets", values)

    def ask(self, spec: dict[str, Any]) -> UUID:
        """A job."""
        return self._insert("jobs", {"project_id": self.project_id, "kind": spec["kind"], "spec": spec})

    def freeze(self, dataset_id: UUID) -> dict[str, Any]:
        """A version, made by a job that was done; its row."""
        job = self.done(self.ask({"kind": "freeze", "dataset_id": str(dataset_id)}))
        assert job["state"] == "succeeded", job["reason"]
        (row,) = self.place.sql(
            "select * from dataset_versions where id = %s", UUID(job["result"]["dataset_version_id"])
        )
        return row

    def done(self, job_id: UUID, works: dict[str, Any] | None = None) -> dict[str, Any]:
        """The job, after a run that has drained the queue."""
        settings = self.place.settings.model_copy(update={"linger_s": 0})
        pieces.run(settings, works or {"freeze": freeze}, pool=f"test-{uuid4().hex[:8]}")
        (job,) = self.place.sql("select * from jobs where id = %s", job_id)
        return job

    def _insert(self, table: str, values: dict[str, Any]) -> UUID:
        plain = {name: json.dumps(v) if isinstance(v, dict) or name == "polygon" else v for name, v in values.items()}
        names, marks = ", ".join(plain), ", ".join("%s" for _ in plain)
        (row,) = self.place.sql(f"insert into {table} ({names}) values ({marks}) returning id", *plain.values())
        return UUID(str(row["id"]))


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A JPEG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(out, "JPEG")
    return out.getvalue()


def annotated(place: Library, *labels: str) -> Annotated:
    """A new project with these labels."""
    (row,) = place.sql("insert into projects (name) values ('a project') returning id")
    made = Annotated(place, UUID(str(row["id"])))
    for name in labels:
        made.label(name)
    return made
