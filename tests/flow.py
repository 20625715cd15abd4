"""A team's whole way through Argus, over the real API: videos come in, concepts are found, corrected, followed, reviewed,
frozen, exported, and imported elsewhere. It is gone once; tests look at what was seen on the way.

Ingest is a run on the local Ray; the stages of the other runs work in this process.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import httpx
import numpy as np
from pydantic import SecretStr

from argus_ray import rle, weights
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.cli.demonstration.agreement import Agreement, drawn_at, in_frames
from argus_ray.cli.transfers import fetch
from argus_ray.client import Client
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.pipelines import autolabel, dataset_work, ingest
from argus_ray.pipelines.stages.concept_finder import ConceptFinder
from argus_ray.pipelines.stages.object_follower import ObjectFollower
from argus_ray.pipelines.stages.proposal_writer import ProposalWriter, TrackWriter
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import (
    Annotation,
    AnnotationCreate,
    AnnotationFilter,
    AnnotationUpdate,
    Box,
    Mask,
    Reviewed,
    State,
    Track,
    Word,
)
from argus_ray.schemas.dataset import DatasetCreate, DatasetVersion, ExportCreate, Format, Splits
from argus_ray.schemas.frame import Frame, SearchFilter
from argus_ray.schemas.job import Ask, Autolabel, Estimate, Import, Job, Target, TrackObjects
from argus_ray.schemas.label import Label, LabelCreate
from argus_ray.schemas.project import Role
from argus_ray.schemas.verdict import VerdictsPut
from argus_ray.schemas.video import SamplingPolicy, Video
from argus_ray.settings import DEMO_SAM3, DEMO_SIGLIP2, Settings
from argus_ray.synthetic.language import BARE_QUERIES, Query, bare
from argus_ray.synthetic.scene import random_scene, training_pair
from argus_ray.synthetic.video import VideoTruth, draw_video
from tests.labelling import drain
from tests.library import Library, library

SIZE, SECONDS, FPS, KEPT_FPS = (640, 360), 2, 10, 5
SEEDS = (31, 32, 33)
LEAST_SCORE = 0.5
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass
class Flow:
    """Who took part, and what they saw on the way."""

    place: Library = field(repr=False)
    ana: Client = field(repr=False)
    ben: Client = field(repr=False)
    vic: Client = field(repr=False)
    zoe: Client = field(repr=False)
    """Owner, annotator and viewer of the project, and the owner of another one."""
    project: UUID
    other: UUID
    truths: tuple[VideoTruth, ...] = field(repr=False)
    stages: dict[str, tuple[Any, Any]] = field(repr=False)
    """Of each kind of run the one that finds and the one that writes."""
    queries: dict[UUID, Query] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    """The last one names what is in none of the videos."""
    videos: list[Video] = field(default_factory=list)
    frames: dict[UUID, list[Frame]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    estimates: list[Estimate] = field(default_factory=list)
    seen: dict[str, list[Annotation]] = field(default_factory=dict)
    """Every annotation of the project, after each step."""
    corrected: dict[str, Annotation] = field(default_factory=dict)
    """What a person made of what was proposed, by what they did."""
    tracks: dict[str, Track] = field(default_factory=dict)
    keyframes: dict[str, list[Annotation]] = field(default_factory=dict)
    accepted: list[Reviewed] = field(default_factory=list)
    verdicts: int = 0
    version: DatasetVersion | None = None
    archives: dict[str, Path] = field(default_factory=dict)
    imports: dict[str, Job] = field(default_factory=dict)
    other_version: DatasetVersion | None = None

    def annotations(self, client: Client | None = None, videos: Sequence[Video] | None = None) -> list[Annotation]:
        return [one for v in videos or self.videos for one in (client or self.ana).annotations.list(v.id)]

    def truth_of(self, video_id: UUID) -> VideoTruth:
        return self.truths[[video.id for video in self.videos].index(video_id)]

    def drawn(self, one: Annotation) -> Rle:
        """What was drawn nearest to an annotation's mask."""
        masks = [*drawn_at(self.truth_of(one.video_id), one.pts_us, self.queries[one.label_id]).values()]
        return max(masks, key=lambda mask: rle.iou([mask], [mask_of(one)])[0, 0])


def mask_of(one: Annotation) -> Rle:
    assert one.mask is not None
    return Rle(one.mask.size, one.mask.counts)


@contextlib.contextmanager
def flow(postgres: Postgres, s3: SeaweedFS, folder: Path) -> Iterator[Flow]:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_place(postgres, s3, folder))
        ana, ben, vic, zoe = (
            stack.enter_context(Client(place.url, place.issuer.token(f"{name}@example.org")))
            for name in ("ana", "ben", "vic", "zoe")
        )
        project, other = ana.projects.create("Street").id, zoe.projects.create("Elsewhere").id
        for client, role in ((ben, Role.ANNOTATOR), (vic, Role.VIEWER)):
            ana.members.invite(project, str(client.me.get().email), role)
            assert [one.id for one in client.projects.list()] == [project]  # takes the place
        files = {folder / f"drawn-{seed}.mp4": seed for seed in SEEDS}
        truths = tuple(_draw(file, seed) for file, seed in files.items())
        stages = _stages(place.settings, stack)
        gone = Flow(place, ana, ben, vic, zoe, project, other, truths, stages)
        for step in (
            partial(_upload, files=[*files]),
            _name,
            partial(_autolabel, name="first"),
            _correct,
            partial(_autolabel, name="again"),
            _track,
            _retrack,
            _accept,
            _freeze,
            partial(_export, folder=folder),
            _import,
        ):
            step(gone)
        yield gone


@contextlib.contextmanager
def _place(postgres: Postgres, s3: SeaweedFS, folder: Path) -> Iterator[Library]:
    changes = {
        "siglip2_model": DEMO_SIGLIP2,
        "sam3_model": DEMO_SAM3,
        "device": "cpu",
        "extractors": 1,
        "scratch": folder,
    }
    with library(postgres, s3, linger_s=0.2, **changes) as place:
        url = SecretStr(postgres.url(place.owner.info.dbname))
        owner = place.settings.model_copy(update={"database_url": url})
        weights.register(owner, DEMO_SIGLIP2)
        weights.register_sam3(owner, DEMO_SAM3)
        yield place


def _stages(settings: Settings, stack: contextlib.ExitStack) -> dict[str, tuple[Any, Any]]:
    with contextlib.closing(Database(worker_url(settings))) as database:
        model_id = autolabel.registered(settings, database).id
    finder, follower = ConceptFinder(settings), ObjectFollower(settings, model_id)
    writing = (worker_url(settings), model_id, "cpu", 3)
    writers = ProposalWriter(*writing), TrackWriter(*writing)
    for part in (finder, follower, *writers):
        stack.callback(part.database.close)
    for pictures in (finder.pictures, follower.kept, follower.decoded):
        stack.callback(pictures.s3.close)
    return {"autolabel": (finder, writers[0]), "track": (follower, writers[1])}


def _draw(file: Path, seed: int) -> VideoTruth:
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, (2, 4), allow=training_pair)
    return draw_video(file, rng, SECONDS, scenes=[scene], size=SIZE, fps=FPS)


# -- steps -----------------------------------------------------------------------------------------


def _upload(gone: Flow, files: Sequence[Path]) -> None:
    sampling = SamplingPolicy(fps=KEPT_FPS, dedupe=False)
    for client, project in ((gone.ana, gone.project), (gone.zoe, gone.other)):
        for file in files:
            client.videos.upload(project, file, sampling=sampling)
    assert ingest.run(gone.place.settings)
    for job in [*gone.ana.jobs.list(gone.project), *gone.zoe.jobs.list(gone.other)]:
        assert job.state == "succeeded", job.reason
    gone.videos = sorted(gone.ana.videos.list(gone.project), key=lambda video: video.name)
    gone.frames = {video.id: [*gone.ana.videos.frames(video.id)] for video in gone.videos}


def _name(gone: Flow) -> None:
    """Labels for the largest thing of each video, and for something that is in none."""
    scenes = [truth.shots[0].scene for truth in gone.truths]
    largest = [max(scene.things, key=lambda thing: thing.size) for scene in scenes]
    wanted = {query.text: query for query in (bare(thing.colour, thing.shape) for thing in largest)}
    there = {(thing.colour, thing.shape) for scene in scenes for thing in scene.things}
    false = next(q for q in BARE_QUERIES if q.things[0] not in there and training_pair(*map(str, q.things[0])))
    for query in (*wanted.values(), false):
        label = gone.ana.labels.create(gone.project, LabelCreate(name=query.text))
        gone.labels.append(label)
        gone.queries[label.id] = query


def _asks(gone: Flow) -> list[Ask]:
    return [Ask(label_id=label.id) for label in gone.labels]


def _autolabel(gone: Flow, name: str) -> None:
    spec = Autolabel(labels=_asks(gone))
    gone.estimates.append(gone.ana.jobs.estimate(gone.project, spec))
    asked = gone.ana.jobs.create(gone.project, spec)
    drain(gone.place, *gone.stages["autolabel"])
    _ended(gone, name, asked)


def _ended(gone: Flow, name: str, asked: Job) -> Job:
    job = gone.jobs[name] = gone.ana.jobs.wait(asked.id, timeout_s=60)
    assert job.state == "succeeded", job.reason
    gone.seen[name] = gone.annotations()
    return job


def _correct(gone: Flow) -> None:
    """An annotator looks at the last video: one proposal is redrawn, one refused, one accepted, and a box is added."""
    video = gone.videos[-1]
    redrawn, refused, accepted = [one for one in gone.seen["first"] if one.video_id == video.id][:3]
    drawn = gone.drawn(redrawn)
    mask = Mask(size=drawn.size, counts=drawn.counts)
    made = AnnotationCreate(
        video_id=video.id, pts_us=accepted.pts_us, label_id=accepted.label_id, box=Box(x=0.1, y=0.1, w=0.2, h=0.3)
    )
    refusal = AnnotationUpdate(state=State.REJECTED, reason="a shadow")
    gone.corrected = {
        "redrawn": gone.ben.annotations.update(redrawn, AnnotationUpdate(mask=mask)),
        "refused": gone.ben.annotations.update(refused, refusal),
        "accepted": gone.ben.annotations.update(accepted, AnnotationUpdate(state=State.ACCEPTED)),
        "made": gone.ben.annotations.create(gone.project, [made]).items[0],
    }


def _track(gone: Flow) -> None:
    """The other videos are followed through."""
    target = Target(filter=SearchFilter(video_ids=[video.id for video in gone.videos[:-1]]))
    asked = gone.ana.jobs.create(gone.project, TrackObjects(target=target, labels=_asks(gone)))
    drain(gone.place, *gone.stages["track"], kind="track")
    _ended(gone, "track", asked)


def _retrack(gone: Flow) -> None:
    """A person corrects the keyframe in the middle of the longest track, and has the model go on from there."""
    longest = max(gone.ana.tracks.list(gone.videos[0].id), key=lambda one: one.keyframes)
    gone.tracks["tracked"], gone.keyframes["tracked"] = longest, _keyframes(gone, longest)
    middle = gone.keyframes["tracked"][longest.keyframes // 2]
    drawn = gone.drawn(middle)
    change = AnnotationUpdate(mask=Mask(size=drawn.size, counts=drawn.counts))
    gone.corrected["keyframe"] = gone.ben.annotations.update(middle, change)
    asked = gone.ana.tracks.retrack(longest.id, middle.pts_us)
    drain(gone.place, *gone.stages["track"], kind="track")
    _ended(gone, "retrack", asked)
    gone.tracks["retracked"], gone.keyframes["retracked"] = gone.ana.tracks.get(longest.id), _keyframes(gone, longest)


def _keyframes(gone: Flow, one: Track) -> list[Annotation]:
    return [k for k in gone.ana.annotations.list(one.video_id, interpolate=False) if k.track_id == one.id]


def _accept(gone: Flow) -> None:
    for which in (
        {"job_id": gone.jobs["track"].id},
        {"job_id": gone.jobs["retrack"].id},
        {"video_ids": [gone.videos[-1].id]},
    ):
        asked = AnnotationFilter(min_score=LEAST_SCORE, **which)
        gone.accepted.append(gone.ben.annotations.accept(gone.project, asked))
    gone.seen["accepted"] = gone.annotations()
    absent = VerdictsPut(target=Target(), label_id=gone.labels[-1].id, verdict=Word.EXHAUSTIVE_ABSENT)
    gone.verdicts = gone.ben.verdicts.put_many(gone.project, absent).verdicts


def _freeze(gone: Flow) -> None:
    gone.version = _frozen(gone, gone.ana, gone.project)


def _frozen(gone: Flow, client: Client, project: UUID) -> DatasetVersion:
    dataset = client.datasets.create(
        project, DatasetCreate(name="everything", splits=Splits(train=0.6, val=0.4, test=0))
    )
    (job,) = _worked(gone, client, [client.datasets.freeze(dataset.id)])
    return client.datasets.version((job.result or {})["dataset_version_id"])


def _worked(gone: Flow, client: Client, asked: Sequence[Job]) -> list[Job]:
    assert dataset_work.run(gone.place.settings)
    done = [client.jobs.wait(one.id, timeout_s=60) for one in asked]
    for job in done:
        assert job.state == "succeeded", job.reason
    return done


def _export(gone: Flow, folder: Path) -> None:
    """By the viewer, who may take away what they may see."""
    assert gone.version is not None
    exports = {one: ExportCreate(format=one, pictures=True) for one in FORMATS}
    asked = [gone.ana.datasets.export(gone.version.id, export) for export in exports.values()]
    for name, job in zip(exports, _worked(gone, gone.ana, asked), strict=True):
        gone.jobs[name], gone.archives[name] = job, folder / f"{name}.zip"
        fetch(partial(gone.vic.datasets.download, job.id), gone.archives[name])


def _import(gone: Flow) -> None:
    """Into another project of the same videos: looked at first, then written."""
    size = gone.archives["parquet"].stat().st_size
    sent = gone.zoe.datasets.announce_import(gone.other, size)
    httpx.put(
        sent.url, content=gone.archives["parquet"].read_bytes(), headers=sent.headers, trust_env=False
    ).raise_for_status()
    for name in ("looked at", "written"):
        spec = Import(
            object_key=sent.object_key,
            format="parquet",
            create_labels=True,
            state="accepted",
            dry_run=name == "looked at",
        )
        (gone.imports[name],) = _worked(gone, gone.zoe, [gone.zoe.jobs.create(gone.other, spec)])
        gone.seen[name] = gone.annotations(gone.zoe, [*gone.zoe.videos.list(gone.other)])
    gone.other_version = _frozen(gone, gone.zoe, gone.other)


def found_in_frames(gone: Flow, found: Sequence[Annotation]) -> Agreement:
    """Of every kept frame and label, what was drawn against what was found."""
    by_place: dict[tuple[UUID, int, UUID], list[Rle]] = defaultdict(list)
    for one in found:
        by_place[one.video_id, one.pts_us, one.label_id].append(mask_of(one))
    return in_frames(
        ([*drawn_at(truth, frame.pts_us, query).values()], by_place[video.id, frame.pts_us, label_id])
        for video, truth in zip(gone.videos, gone.truths, strict=True)
        for frame in gone.frames[video.id]
        for label_id, query in gone.queries.items()
    )
