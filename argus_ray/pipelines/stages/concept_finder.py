"""ConceptFinder: the model is asked for every label of the job on every frame of a segment.

One actor reads, decodes and asks: threads fetch the next pictures meanwhile, so that the device waits for none, and no
pixels travel between processes. What the model sees of a picture is made once for all labels and all their phrases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from argus_ray import rle
from argus_ray.catalog import labelling
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.labelling import Asking
from argus_ray.catalog.work import Started
from argus_ray.errors import NotFound
from argus_ray.models import sam3
from argus_ray.models.concepts import Found, Prompt, box_of, distinct
from argus_ray.pipelines.stages.attempts import attempt, still_held
from argus_ray.pipelines.stages.frame_pictures import FramePictures
from argus_ray.pipelines.stages.rows import AnsweredChunk, ClaimedSegment
from argus_ray.rle import Size
from argus_ray.settings import Settings
from argus_ray.weights import fetcher

CHUNK_FRAMES = 16
AT_ONCE = 4
METHOD = "sam3"


class ConceptFinder:
    """ClaimedSegment in, AnsweredChunks out."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(worker_url(settings))
        self.model = sam3.load(settings.sam3_model, settings.device, parts=("concepts",), fetch=fetcher(settings))
        self.pictures = FramePictures(settings, enough=self.model.image_size)

    def __call__(self, row: ClaimedSegment) -> Iterator[AnsweredChunk]:
        yield from attempt(self.database, row, self._answered, max_attempts=self.settings.max_attempts)

    def _answered(self, segment: Started) -> Iterator[AnsweredChunk]:
        assert segment.plan is not None
        assert segment.video_id is not None
        project_id, video_id = segment.project_id, segment.video_id
        asking = self.database.retry(lambda tx: tx.all(labelling.asking(project_id, segment.spec["labels"])))
        video = self.database.retry(lambda tx: tx.one(labelling.filmed(project_id, video_id)))
        if not asking:
            raise NotFound("the job's labels are gone")
        questions = Questions.of(asking, self.model.score_threshold)
        for prompt in questions.prompts:
            self.model.check(prompt)
        times_us: list[int] = segment.plan["pts_us"]
        pictures = self.pictures.read(project_id, video_id, times_us)
        chunks = range(0, len(times_us), CHUNK_FRAMES)
        for number, first in enumerate(chunks):
            if number:
                still_held(self.database, segment.claim)
            wanted = times_us[first : first + CHUNK_FRAMES]
            seen = [(pts_us, picture) for pts_us, picture in (next(pictures) for _ in wanted) if picture is not None]
            began = time.perf_counter()
            answers = self._ask(questions, [picture for _, picture in seen], (video.height, video.width))
            compute_s = time.perf_counter() - began
            asked, found = told(questions, video_id, [pts_us for pts_us, _ in seen], answers)
            done = first + len(wanted)
            gone = len(wanted) - len(seen)
            yield AnsweredChunk(
                segment_id=str(segment.segment_id),
                run_id=str(segment.run_id),
                fence=segment.fence,
                job_id=str(segment.job_id),
                project_id=str(project_id),
                kind=segment.kind,
                chunk=number,
                last=number == len(chunks) - 1,
                progress=done / len(times_us),
                frames=len(seen),
                labels=len(asking),
                compute_s=compute_s,
                warnings=json.dumps([_frames_gone(video_id, gone)] if gone else []),
                asked=json.dumps(asked),
                found=json.dumps(found),
            )

    def _ask(self, questions: Questions, pictures: Sequence[NDArray[np.uint8]], size: Size) -> list[list[Found]]:
        """By picture and prompt; a few pictures at a time, since what the model sees in one is large."""
        answers: list[list[Found]] = []
        for first in range(0, len(pictures), AT_ONCE):
            features = self.model.features(pictures[first : first + AT_ONCE])
            asked = [(one, prompt) for one in features for prompt in questions.prompts]
            found = self.model.find_all(asked, size=size, threshold=questions.lowest)
            count = len(questions.prompts)
            answers += [found[place : place + count] for place in range(0, len(found), count)]
        return answers


@dataclass(frozen=True)
class Questions:
    """The phrases of all labels in one list; `owner` says whose each is, by place in `labels`."""

    labels: tuple[UUID, ...]
    thresholds: tuple[float, ...]
    prompts: tuple[Prompt, ...]
    owner: tuple[int, ...]

    @classmethod
    def of(cls, asking: Sequence[Asking], otherwise: float) -> Questions:
        """`otherwise` is the threshold of a label that has none."""
        phrases = [(place, phrase) for place, one in enumerate(asking) for phrase in one.prompts]
        return cls(
            labels=tuple(one.label_id for one in asking),
            thresholds=tuple(otherwise if one.threshold is None else one.threshold for one in asking),
            prompts=tuple(Prompt(phrase) for _, phrase in phrases),
            owner=tuple(place for place, _ in phrases),
        )

    @property
    def lowest(self) -> float:
        return min(self.thresholds)

    def of_label(self, place: int, answers: Sequence[Found]) -> list[Found]:
        """Of one picture's answers those to this label's phrases."""
        return [answer for owner, answer in zip(self.owner, answers, strict=True) if owner == place]


def told(
    questions: Questions, video_id: UUID, times_us: Sequence[int], answers: Sequence[Sequence[Found]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was asked and what was found, in the words of the catalogue."""
    asked: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for pts_us, of_picture in zip(times_us, answers, strict=True):
        for place, label_id in enumerate(questions.labels):
            of_label = questions.of_label(place, of_picture)
            presence = max(answer.presence for answer in of_label)
            head = {"video_id": str(video_id), "pts_us": pts_us, "label_id": str(label_id), "presence": presence}
            asked.append(head)
            for score, mask in distinct(of_label, questions.thresholds[place]):
                x, y, w, h = box_of(mask)
                shape = {"x": x, "y": y, "w": w, "h": h, "counts": mask.counts, "area_px": rle.area(mask)}
                found.append({**head, **shape, "score": score, "method": METHOD})
    return asked, found


def _frames_gone(video_id: UUID, count: int) -> dict[str, Any]:
    return {
        "type": "frames-gone",
        "detail": f"{count} frames are not kept any more, since their video was ingested again: they were left out",
        "video_id": str(video_id),
    }
