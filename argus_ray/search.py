"""From text, a picture or a frame to ranked moments.

A query is a weighted sum of unit vectors, made unit again; "not like that" is a negative weight. All its vectors, and
those of the frames, come from one model, which the answer names. Scores are what they are: the cosine, and for words
alone the sigmoid of the model's own scale and bias.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from argus_ray.catalog import models
from argus_ray.catalog import search as nearest
from argus_ray.catalog.search import Neighbour
from argus_ray.catalog.statement import AsyncTx
from argus_ray.cursors import cursor_of, place_of
from argus_ray.errors import InvalidRequest
from argus_ray.moments import Moment, best_of_videos, moments, rank, single
from argus_ray.s3 import S3, frame_key
from argus_ray.schemas.frame import Hit, QueryTerm, Search, SearchAnswer
from argus_ray.schemas.model import EmbeddingModel

Vector = npt.NDArray[np.float32]


class Embedder(Protocol):
    """The SigLIP 2 deployment, as search needs it. Vectors are unit length, `[N, D]`."""

    async def info(self) -> dict[str, Any]:
        """`model_id`, `weights_id`, `dim`, `image_size`, `logit_scale`, `logit_bias`."""

    async def embed_texts(self, model_id: str, texts: list[str]) -> npt.NDArray[np.floating[Any]]: ...

    async def embed_images(self, model_id: str, images: list[bytes]) -> npt.NDArray[np.floating[Any]]: ...


class Embedded(dict[int, Vector]):
    """The vectors of a query's words and pictures by the place of their term, and the model that made them."""

    info: dict[str, Any]


def terms_of(asked: Search) -> list[QueryTerm]:
    """Every query as weighted terms: a single one has weight 1."""
    return asked.terms or [QueryTerm(text=asked.text, image=asked.image, frame_id=asked.frame_id)]


async def embed(embedder: Embedder, asked: Search) -> Embedded:
    """The vectors of the words and pictures among the terms; no transaction is open while a model thinks."""
    embedded = Embedded()
    embedded.info = await embedder.info()
    model_id = embedded.info["model_id"]
    terms = list(enumerate(terms_of(asked)))
    texts = [(place, term.text) for place, term in terms if term.text is not None]
    pictures = [(place, _bytes_of(term.image.base64)) for place, term in terms if term.image is not None]
    if texts:
        vectors = await embedder.embed_texts(model_id, [text for _, text in texts])
        embedded.update((place, vector.astype(np.float32)) for (place, _), vector in zip(texts, vectors, strict=True))
    if pictures:
        vectors = await embedder.embed_images(model_id, [picture for _, picture in pictures])
        embedded.update(
            (place, vector.astype(np.float32)) for (place, _), vector in zip(pictures, vectors, strict=True)
        )
    return embedded


async def search(
    tx: AsyncTx, s3: S3, project_id: UUID, asked: Search, embedded: Embedded, *, url_expires_s: int
) -> SearchAnswer:
    """The moments, videos or frames most like the query. Raises NotFound for a frame that is not the project's."""
    after = _cursor(asked)
    model = await tx.one(models.by_weights("siglip2", embedded.info["weights_id"]))
    query = await _vector(tx, project_id, model, terms_of(asked), embedded)

    within = asked.filter
    exact = await tx.one(nearest.size(model, project_id, within)) <= nearest.EXACT_UP_TO
    if exact:
        found = await tx.all(nearest.exact(model, project_id, within, query.tolist()))
    else:
        await tx.one(nearest.widen_index_scan())
        found = await tx.all(nearest.indexed(model, project_id, within, query.tolist()))

    grouped = _grouped(asked, found)
    if after is not None:
        grouped = [moment for moment in grouped if rank(moment.best) > after]
    page, rest = grouped[: asked.limit], grouped[asked.limit :]
    words_alone = all(term.text is not None and term.weight > 0 for term in terms_of(asked))
    return SearchAnswer(
        items=await _hits(tx, s3, project_id, page, model if words_alone else None, url_expires_s),
        next_cursor=_cursor_after(asked, page[-1].best) if rest else None,
        model={"id": model.id, "family": model.family, "uri": model.uri, "weights_id": model.weights_id},
        exact=exact,
    )


def _grouped(asked: Search, found: Sequence[Neighbour]) -> list[Moment]:
    gap_us = round(asked.moment_gap_s * 1e6)
    if asked.group_by == "none":
        return single(found)
    return moments(found, gap_us) if asked.group_by == "moment" else best_of_videos(found, gap_us)


async def _vector(
    tx: AsyncTx, project_id: UUID, model: EmbeddingModel, terms: Sequence[QueryTerm], embedded: Embedded
) -> Vector:
    total = np.zeros(model.dim, np.float32)
    for place, term in enumerate(terms):
        vector = embedded.get(place)
        if vector is None:
            assert term.frame_id is not None
            printed = await tx.one(nearest.vector_of(model, project_id, term.frame_id))
            vector = np.array(json.loads(printed), np.float32)
        total += term.weight * vector
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise InvalidRequest("the terms cancel each other out: change a weight")
    return total / length


async def _hits(
    tx: AsyncTx, s3: S3, project_id: UUID, page: Sequence[Moment], words: EmbeddingModel | None, url_expires_s: int
) -> list[Hit]:
    shown = {
        (row.video_id, row.pts_us): row
        for row in await tx.all(nearest.shown(project_id, [moment.best for moment in page]))
    }
    hits = []
    for moment in page:
        best = moment.best
        row = shown.get((best.video_id, best.pts_us))
        if row is None:  # deleted between the two statements
            continue
        media = s3.presign_get(
            s3.original(project_id, best.video_id, row.source_uri), expires_s=url_expires_s, filename=row.video_name
        )
        hits.append(
            Hit(
                video_id=best.video_id,
                video_name=row.video_name,
                frame_id=row.frame_id,
                pts_us=best.pts_us,
                score=best.score,
                probability=_sigmoid(words.logit_scale * best.score + words.logit_bias) if words else None,
                start_us=moment.start_us,
                end_us=moment.end_us,
                frames=moment.frames,
                url=s3.presign_get(s3.at(frame_key(project_id, best.video_id, best.pts_us)), expires_s=url_expires_s),
                # a media fragment (W3C Media Fragments URI 1.0): players open the original at that second
                video_url=f"{media}#t={max(best.pts_us, 0) / 1e6:.3f}",
            )
        )
    return hits


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _bytes_of(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidRequest("the image is not base64") from error


# A cursor names the last hit of its page and the query it belongs to.
_PLACE = TypeAdapter(tuple[str, float, UUID, int])


def _fingerprint(asked: Search) -> str:
    said = asked.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _cursor_after(asked: Search, last: Neighbour) -> str:
    return cursor_of((_fingerprint(asked), last.score, last.video_id, last.pts_us))


def _cursor(asked: Search) -> tuple[float, UUID, int] | None:
    if asked.cursor is None:
        return None
    query, score, video_id, pts_us = place_of(asked.cursor, _PLACE)
    if query != _fingerprint(asked):
        raise InvalidRequest("the cursor belongs to another query: repeat the query it came from")
    return rank(Neighbour(video_id, pts_us, score))
