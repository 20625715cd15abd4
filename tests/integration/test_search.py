"""Search over HTTP: real Postgres, real row-level security, and vectors whose neighbours are known."""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg import sql

from argus_ray.catalog import embeddings, fold, frames, models, search
from argus_ray.catalog.statement import Statement, Tx
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.schemas.frame import SearchFilter
from argus_ray.schemas.model import EmbeddingModel
from tests.library import Library, library

DIM = 16
SECOND = 1_000_000


class Axes:
    """Embeds "axis 3" as the third unit vector, and sums of axes ("axis 1 axis 2") between them."""

    def __init__(self, dim: int = DIM) -> None:
        self.dim = dim

    async def info(self) -> dict[str, Any]:
        return {"model_id": "axes", "weights_id": f"axes-{self.dim}", "dim": self.dim}

    async def embed_texts(self, model_id: str, texts: list[str]) -> NDArray[np.float32]:
        assert model_id == "axes"
        return np.stack([axes(*(int(word) for word in text.split() if word.isdigit()), dim=self.dim) for text in texts])

    async def embed_images(self, model_id: str, images: list[bytes]) -> NDArray[np.float32]:
        return np.stack([axes(image[0], dim=self.dim) for image in images])


def axes(*which: int, dim: int = DIM, noise: float = 0) -> NDArray[np.float32]:
    vector = np.full(dim, noise, np.float32)
    vector[list(which)] += 1
    return vector / np.float32(np.linalg.norm(vector))


@dataclass
class Shelf:
    """A library with a model, an editor's client and a project."""

    library: Library
    model: EmbeddingModel
    editor: httpx.Client
    project_id: UUID

    def add(
        self,
        name: str,
        vectors: Sequence[NDArray[Any]],
        *,
        project_id: UUID | None = None,
        state: str = "ready",
        **more: Any,
    ) -> UUID:
        """A video with a frame a second."""
        project = project_id or self.project_id
        (video,) = self.library.sql(
            "insert into videos (project_id, name, state, metadata, uploaded_at) values (%s, %s, %s, %s, %s) returning id",
            project, name, state, more.get("metadata", "{}"), more.get("uploaded_at", "2026-01-01T00:00:00Z"),
        )  # fmt: skip
        (job,) = self.library.sql(
            "insert into jobs (project_id, kind, video_id) values (%s, 'ingest', %s) returning id", project, video["id"]
        )
        ones = np.ones(len(vectors), np.int32)
        pts = np.arange(len(vectors), dtype=np.int64) * SECOND
        with self.library.worker.transaction() as tx:
            frames.copy(tx, video["id"], frames.Arriving(pts, ones, ones, ones, np.stack(vectors)))
            tx.run(frames.upsert(project, video["id"], job_id=job["id"], segment_number=0, why=more.get("why", "fps")))
            tx.run(embeddings.upsert(project, video["id"], model_number=self.model.number))
        return video["id"]

    def search(self, client: httpx.Client | None = None, **asked: Any) -> httpx.Response:
        return (client or self.editor).post(f"/v1/projects/{self.project_id}/search", json=asked)

    def found(self, **asked: Any) -> list[tuple[str, int]]:
        answer = self.search(**asked)
        assert answer.status_code == 200, answer.text
        return [(hit["video_name"], hit["pts_us"] // SECOND) for hit in answer.json()["items"]]


def register(shelf: Library, dim: int) -> EmbeddingModel:
    """As the registrar does."""
    statement = models.register(
        family="siglip2", uri="axes", weights_id=f"axes-{dim}", dim=dim, image_size=224, logit_scale=10, logit_bias=-5
    )
    with shelf.owner.transaction():
        shelf.owner.execute("set local role argus_registrar")
        tx = Tx(shelf.owner)
        tx.one(statement)
        return tx.one(models.by_weights("siglip2", f"axes-{dim}"))


@pytest.fixture(scope="module")
def a_library(postgres: Postgres, s3: SeaweedFS) -> Iterator[tuple[Library, EmbeddingModel]]:
    with library(postgres, s3, siglip2=Axes()) as made:
        yield made, register(made, DIM)


@pytest.fixture
def shelf(a_library: tuple[Library, EmbeddingModel]) -> Iterator[Shelf]:
    made, model = a_library
    with made.person("ed@example.com") as editor:
        yield Shelf(made, model, editor, made.project(editor))


def test_words_find_the_frames_that_fit_them_best(shelf):
    shelf.add("one", [axes(1), axes(2)])
    shelf.add("two", [axes(3), axes(2, 3)])
    assert shelf.found(text="axis 2", group_by="none")[:2] == [("one", 1), ("two", 1)]


def test_a_frame_finds_itself_and_what_is_like_it(shelf):
    shelf.add("one", [axes(1), axes(4)])
    shelf.add("two", [axes(1, 2), axes(5)])
    (first, *_) = shelf.search(text="axis 1", group_by="none").json()["items"]
    assert shelf.found(frame_id=first["frame_id"], group_by="none")[:2] == [("one", 0), ("two", 0)]


def test_a_picture_finds_what_is_like_it(shelf):
    shelf.add("one", [axes(7), axes(8)])
    assert shelf.found(image={"base64": "Bw=="}, group_by="none")[0] == ("one", 0)


def test_a_negative_weight_pushes_away(shelf):
    shelf.add("both", [axes(1, 2)])
    shelf.add("one alone", [axes(1, 3)])
    mixed = [{"text": "axis 1"}, {"text": "axis 2", "weight": -0.7}]
    assert shelf.found(terms=mixed, group_by="none")[0] == ("one alone", 0)


def test_terms_that_cancel_each_other_are_refused_and_say_so(shelf):
    answer = shelf.search(terms=[{"text": "axis 1"}, {"text": "axis 1", "weight": -1}])
    assert answer.status_code == 422
    assert "cancel" in answer.json()["detail"]


def test_a_static_shot_is_one_moment_with_its_start_and_end(shelf):
    shelf.add("still", [axes(1, noise=0.01 * place) for place in range(20)] + [axes(9)] * 20)
    (moment, *rest) = shelf.search(text="axis 1").json()["items"]
    assert (moment["start_us"], moment["end_us"], moment["frames"]) == (0, 19 * SECOND, 20)
    assert len(rest) <= 1


def test_by_video_each_video_comes_once(shelf):
    shelf.add("a", [axes(1), axes(9), axes(1)])
    shelf.add("b", [axes(1, 2)])
    assert [name for name, _ in shelf.found(text="axis 1", group_by="video")] == ["a", "b"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"from_us": SECOND}, {("red", 1), ("blue", 1)}),
        ({"to_us": SECOND}, {("red", 0), ("blue", 0)}),
        ({"metadata": {"camera": "red"}}, {("red", 0), ("red", 1)}),
        ({"uploaded_after": "2026-05-01T00:00:00Z"}, {("blue", 0), ("blue", 1)}),
        ({"uploaded_before": "2026-05-01T00:00:00Z"}, {("red", 0), ("red", 1)}),
        ({"why": ["scenes"]}, {("blue", 0), ("blue", 1)}),
        ({"metadata": {"camera": "nobody's"}}, set()),
    ],
)
def test_filters_keep_what_they_name(shelf, chosen, expected):
    shelf.add("red", [axes(1), axes(1, 2)], metadata='{"camera": "red"}')
    shelf.add("blue", [axes(1), axes(1, 2)], uploaded_at="2026-06-01T00:00:00Z", why="scenes")
    assert set(shelf.found(text="axis 1", group_by="none", filter=chosen)) == expected


def test_a_filter_by_video_keeps_that_video(shelf):
    shelf.add("a", [axes(1)])
    b = shelf.add("b", [axes(2)])
    assert shelf.found(text="axis 1", filter={"video_ids": [str(b)]}) == [("b", 0)]


@pytest.mark.parametrize("group_by", ["moment", "none", "video"])
def test_pages_hold_everything_once_in_one_order(shelf, group_by):
    rng = np.random.default_rng(0)
    for number in range(7):
        vectors = rng.normal(size=(9, DIM))
        shelf.add(f"v{number}", list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
    asked = {"text": "axis 1", "group_by": group_by}
    whole = shelf.search(**asked, limit=200).json()["items"]
    pages, cursor = [], None
    while True:
        page = shelf.search(**asked, limit=4, **({"cursor": cursor} if cursor else {})).json()
        pages += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    strip = [(hit["frame_id"], hit["score"]) for hit in pages]
    assert strip == [(hit["frame_id"], hit["score"]) for hit in whole]
    assert len(strip) == len(set(strip)) > 4


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "bnVsbA",
        "WzFd",
        "e30",
        "é",
        "a" * 999,
        base64.urlsafe_b64encode(f'["q", 0.5, "{UUID(int=1)}", 1e999]'.encode()).decode(),
    ],
)
def test_a_cursor_that_was_not_given_out_is_refused(shelf, cursor):
    answer = shelf.search(text="axis 1", cursor=cursor)
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[-1]) == (422, "invalid-request")


def test_a_cursor_belongs_to_its_query(shelf):
    shelf.add("a", [axes(place) for place in range(DIM)])
    cursor = shelf.search(text="axis 1", limit=1, group_by="none").json()["next_cursor"]
    answer = shelf.search(text="axis 2", limit=1, group_by="none", cursor=cursor)
    assert answer.status_code == 422
    assert "another query" in answer.json()["detail"]


def test_scores_are_the_cosine_and_only_words_have_a_probability(shelf):
    shelf.add("a", [axes(1, 2)])
    (hit,) = shelf.search(text="axis 1").json()["items"]
    assert hit["score"] == pytest.approx(0.5**0.5, abs=1e-3)
    assert hit["probability"] == pytest.approx(1 / (1 + np.exp(-(10 * 0.5**0.5 - 5))), abs=1e-2)
    (hit,) = shelf.search(image={"base64": "AQ=="}).json()["items"]
    assert hit["probability"] is None


def test_the_answer_names_its_model_and_links_to_the_second(shelf):
    shelf.add("a", [axes(2), axes(1)])
    answer = shelf.search(text="axis 1").json()
    assert (answer["model"]["weights_id"], answer["exact"]) == (f"axes-{DIM}", True)
    assert answer["items"][0]["video_url"].endswith("#t=1.000")
    assert "X-Amz-Signature" in answer["items"][0]["url"]


@pytest.mark.parametrize("state", ["uploaded", "processing"])
def test_frames_of_an_unfinished_video_are_not_found(shelf, state):
    shelf.add("half", [axes(1)], state=state)
    assert shelf.found(text="axis 1") == []


def test_other_peoples_projects_and_frames_do_not_exist(shelf):
    shelf.add("mine", [axes(1)])
    mine = shelf.search(text="axis 1").json()["items"][0]
    with shelf.library.person("stranger@example.com") as stranger:
        refused = shelf.search(stranger, text="axis 1")
        unknown = stranger.post(f"/v1/projects/{UUID(int=7)}/search", json={"text": "axis 1"})
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["detail"] == unknown.json()["detail"]
        own = shelf.library.project(stranger)
        borrowed = stranger.post(f"/v1/projects/{own}/search", json={"frame_id": mine["frame_id"]})
        assert borrowed.status_code == 404


def test_a_viewer_may_search(shelf):
    shelf.add("a", [axes(1)])
    with shelf.library.person("viewer@example.com") as viewer:
        shelf.editor.post(
            f"/v1/projects/{shelf.project_id}/members", json={"email": "viewer@example.com", "role": "viewer"}
        ).raise_for_status()
        viewer.get("/v1/projects").raise_for_status()
        assert shelf.search(viewer, text="axis 1").status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"text": ""},
        {"text": "a", "frame_id": str(UUID(int=1))},
        {"text": "a\x00b"},
        {"text": "a", "limit": 0},
        {"text": "a", "limit": 10**9},
        {"text": "a", "unknown": 1},
        {"terms": [{"text": "a", "weight": -1}]},
        {"terms": [{"text": "a", "weight": "NaN"}]},
        {"image": {"base64": "%%%"}},
        {"image": {"base64": "ü"}},
        {"text": "a", "filter": {"video_ids": []}},
        {"text": "a", "filter": {"from_us": 10**30}},
        {"text": "a", "filter": {"uploaded_after": "yesterday"}},
    ],
)
def test_a_malformed_query_is_a_422_that_names_what_is_wrong(shelf, asked):
    answer = shelf.search(**asked)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "more)" not in answer.json()["detail"]  # each mistake is named once


def test_a_model_that_is_not_registered_says_so(postgres, s3):
    with library(postgres, s3, siglip2=Axes(8)) as made, made.person("ed@example.com") as editor:
        project = made.project(editor)
        answer = editor.post(f"/v1/projects/{project}/search", json={"text": "axis 1"})
    assert answer.status_code == 503
    assert "argus models register" in answer.json()["detail"]


# -- large projects --------------------------------------------------------------------------------

BIG, BIG_DIM, CLOUDS = 60_000, 128, 400


def clouds(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    centres = rng.normal(size=(CLOUDS, BIG_DIM))
    vectors = centres[rng.integers(CLOUDS, size=count)] + rng.normal(0, 0.7, (count, BIG_DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def big(postgres: Postgres, s3: SeaweedFS) -> Iterator[tuple[Shelf, NDArray[np.float32]]]:
    """A project above the bound of exact search, most of it folded, beside another project of the same model."""
    with library(postgres, s3, siglip2=Axes(BIG_DIM)) as made, made.person("ed@example.com") as editor:
        shelf = Shelf(made, register(made, BIG_DIM), editor, made.project(editor))
        other = made.project(editor)
        vectors = clouds(BIG, np.random.default_rng(0))
        made.sql(f"drop index embeddings_{shelf.model.number}_hnsw")  # quicker to build whole than row by row
        for part in np.array_split(vectors, 4):
            shelf.add("part", list(part), project_id=None)
        shelf.add("foreign", list(clouds(2_000, np.random.default_rng(1))), project_id=other)
        tx = Tx(made.owner)
        for _ in range(5):
            tx.one(fold.batch(shelf.model.number, 10_000))
        made.sql(
            f"create index embeddings_{shelf.model.number}_hnsw on embeddings_{shelf.model.number}_indexed "
            f"using hnsw ((binary_quantize(embedding)::bit({BIG_DIM})) bit_hamming_ops)"
        )
        made.sql("analyze")
        yield shelf, vectors


@contextmanager
def acting_as(shelf: Shelf) -> Iterator[Tx]:
    """A transaction as the editor, under row-level security."""
    user_id = shelf.editor.get("/v1/me").json()["user_id"]
    with shelf.library.owner.transaction():
        shelf.library.owner.execute("set local role authenticated")
        claims = json.dumps({"role": "authenticated", "sub": user_id})
        shelf.library.owner.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        yield Tx(shelf.library.owner)


def plan_of(shelf: Shelf, statement: Statement[Any]) -> list[dict[str, Any]]:
    """The nodes of the plan by which the editor's search runs."""
    assert isinstance(statement.sql, sql.Composed)
    with acting_as(shelf) as tx:
        tx.one(search.widen_index_scan())
        explained = sql.SQL("explain (format json) {}").format(statement.sql)
        (row,) = shelf.library.owner.execute(explained, statement.params).fetchall()
    nodes, waiting = [], [row["QUERY PLAN"][0]["Plan"]]
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", [])
    return nodes


def test_the_index_finds_what_an_exact_search_finds_under_row_level_security_and_filters(big):
    shelf, vectors = big
    rng = np.random.default_rng(2)
    picked = shelf.library.sql("select id from videos where project_id = %s order by id limit 1", shelf.project_id)[0][
        "id"
    ]
    recalls: dict[str, list[float]] = {"whole": [], "filtered": []}
    for query in vectors[rng.choice(len(vectors), 20)]:
        for name, chosen in (("whole", SearchFilter()), ("filtered", SearchFilter(video_ids=[picked]))):
            with acting_as(shelf) as tx:
                exact = tx.all(search.exact(shelf.model, shelf.project_id, chosen, query.tolist()))[:10]
                tx.one(search.widen_index_scan())
                indexed = tx.all(search.indexed(shelf.model, shelf.project_id, chosen, query.tolist()))[:10]
            truth = {(hit.video_id, hit.pts_us) for hit in exact}
            recalls[name].append(len(truth & {(hit.video_id, hit.pts_us) for hit in indexed}) / 10)
    assert statistics.mean(recalls["whole"]) >= 0.95
    assert statistics.mean(recalls["filtered"]) >= 0.95


def test_a_large_project_is_answered_by_the_index_and_a_small_part_of_it_exactly(big):
    shelf, _ = big
    assert shelf.search(text="axis 1").json()["exact"] is False
    video = shelf.library.sql("select id from videos where project_id = %s limit 1", shelf.project_id)[0]["id"]
    assert shelf.search(text="axis 1", filter={"video_ids": [str(video)]}).json()["exact"] is True


def test_the_plan_of_a_large_search_reads_the_index_and_that_of_a_small_one_does_not(big):
    shelf, vectors = big
    large = plan_of(shelf, search.indexed(shelf.model, shelf.project_id, SearchFilter(), vectors[0].tolist()))
    assert f"embeddings_{shelf.model.number}_hnsw" in {node.get("Index Name") for node in large}
    small = plan_of(shelf, search.exact(shelf.model, UUID(int=3), SearchFilter(), vectors[0].tolist()))
    assert not {node["Relation Name"] for node in small if node["Node Type"] == "Seq Scan"} & {
        f"embeddings_{shelf.model.number}_recent",
        f"embeddings_{shelf.model.number}_indexed",
    }


def test_folding_moves_every_vector_and_no_search_sees_one_twice(shelf):
    shelf.add("a", [axes(place) for place in range(10)])
    before = shelf.found(text="axis 1", group_by="none")
    seen = []
    tx = Tx(shelf.library.owner)
    while tx.one(fold.batch(shelf.model.number, 3)):
        seen.append(shelf.found(text="axis 1", group_by="none"))
    assert len(seen) >= 4
    assert all(found == before for found in seen)
    (left,) = shelf.library.sql("select count(*) from embeddings where not indexed")
    assert left["count"] == 0


def test_a_folded_frame_that_is_ingested_again_is_found_once(shelf):
    video = shelf.add("a", [axes(1)])
    Tx(shelf.library.owner).one(fold.batch(shelf.model.number, 1000))
    with shelf.library.worker.transaction() as tx:
        one = np.ones(1, np.int32)
        frames.copy(tx, video, frames.Arriving(np.zeros(1, np.int64), one, one, one, axes(2)[None]))
        tx.run(embeddings.upsert(shelf.project_id, video, model_number=shelf.model.number))
    (hit,) = shelf.search(text="axis 2", group_by="none").json()["items"]
    assert hit["score"] == pytest.approx(1, abs=1e-3)
