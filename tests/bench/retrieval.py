"""How well the demo weights find drawn videos that were in no training, through the running stack.

One gallery of videos of two scenes, drawn from a seed of its own, uploaded, ingested by the pipeline and searched over
HTTP, a video counting by its best frame. Captions name a whole scene, a fifth of them with a pair of colour and shape that
training never showed together; the bare queries are all 80 pairs, a fifth of them such.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from argus_ray.schemas.frame import Search
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.synthetic.evaluate import hit_rate, mean_average_precision, mean_recall
from argus_ray.synthetic.language import BARE_QUERIES, Query, caption
from argus_ray.synthetic.scene import HELD_OUT
from argus_ray.synthetic.video import VideoTruth, draw_video
from tests.bench.measure import Line
from tests.bench.sizes import Sizes
from tests.bench.stack import Stack, running

T = TypeVar("T")

SEED = 712_003
SECONDS, SIZE, FPS = 2.0, (480, 270), 10
SAMPLING = SamplingPolicy(policy="uniform", count=2, dedupe=False)  # the middles of both halves: one of each scene
K = 5


def lines(sizes: Sizes) -> list[Line]:
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        truths = {
            name: draw_video(Path(folder) / name, rng, SECONDS, scenes=2, size=SIZE, fps=FPS)
            for name in (f"{number:04}.mp4" for number in range(sizes.gallery))
        }
        captions = _captions(list(truths.values()), sizes.captions, rng)
        bare = [query for query in BARE_QUERIES if any(truth.matches(query) for truth in truths.values())]
        with running() as stack:
            for name in truths:
                stack.client.videos.upload(stack.project.id, Path(folder) / name, sampling=SAMPLING)
            for job in list(stack.client.jobs.list(stack.project.id)):
                stack.wait(job)
            captions_ranked, bare_ranked = _ranked(stack, captions), _ranked(stack, bare)
    captions_right, bare_right = _relevant(captions, truths), _relevant(bare, truths)
    unseen = [place for place, query in enumerate(captions) if _is_held_out(query)]
    bare_unseen = [place for place, query in enumerate(bare) if _is_held_out(query)]
    unseen_recall = mean_recall(_at(captions_ranked, unseen), _at(captions_right, unseen), K)
    unseen_map = mean_average_precision(_at(bare_ranked, bare_unseen), _at(bare_right, bare_unseen))
    return [
        Line(
            "recall a",
            f"search: recall@{K} of captions",
            f"any right among the first {K}: {hit_rate(captions_ranked, captions_right, K):.3f}",
            f"{len(captions)} captions, {len(truths)} videos over HTTP",
            mean_recall(captions_ranked, captions_right, K),
            0.95,
            f"{len(unseen)} of them with a pair that training never showed: {unseen_recall:.3f}",
            unit="",
        ),
        Line(
            "recall b",
            "search: mAP of bare queries",
            f"first hit right: {hit_rate(bare_ranked, bare_right, 1):.3f}",
            f"{len(bare)} queries such as “red car”, {len(truths)} videos over HTTP",
            mean_average_precision(bare_ranked, bare_right),
            0.75,
            f"{len(bare_unseen)} of them pairs that training never showed: {unseen_map:.3f}",
            unit="",
        ),
    ]


def _captions(truths: Sequence[VideoTruth], count: int, rng: np.random.Generator) -> list[Query]:
    """Distinct ones of scenes with a thing in them, a fifth with a held-out pair."""
    distinct = {query.text: query for truth in truths for query in (caption(shot.scene) for shot in truth.shots)}
    some = [query for query in distinct.values() if query.things]
    queries = [some[place] for place in rng.permutation(len(some))]
    unseen = [query for query in queries if _is_held_out(query)][: count // 5]
    return unseen + [query for query in queries if not _is_held_out(query)][: count - len(unseen)]


def _is_held_out(query: Query) -> bool:
    return any(pair in HELD_OUT for pair in query.things)


def _ranked(stack: Stack, queries: Sequence[Query]) -> list[list[str]]:
    """Names of all videos, best first, of each query."""
    return [
        [
            hit.video_name
            for hit in stack.client.hits(stack.project.id, Search(text=query.text, group_by="video", limit=200))
        ]
        for query in queries
    ]


def _relevant(queries: Sequence[Query], truths: dict[str, VideoTruth]) -> list[set[str]]:
    return [{name for name, truth in truths.items() if truth.matches(query)} for query in queries]


def _at(rows: Sequence[T], places: Sequence[int]) -> list[T]:
    return [rows[place] for place in places]
