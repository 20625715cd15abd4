"""Concepts on request: what a model finds in a frame, and how a phrase does over a handful of them."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header
from fastapi.responses import Response

from argus_ray import predicting
from argus_ray.schemas.concept import ConceptPreview, Predict, Prediction, Preview
from serve_apps.api.dependencies import S3, ProjectId, Sam3, Transactions
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/v1", tags=["concepts"], route_class=Route, responses=documented(401, 404, 422, 429, 503))

_PNG = "image/png"


@router.post("/frames/{frame_id}:predict", operation_id="predict_frame", responses=documented(403, 409, 413))
async def predict_frame(frame_id: UUID, asked: Predict, transactions: Transactions, sam3: Sam3) -> Prediction:
    """Find a concept or an object in one frame, and keep it as a proposal if you like.

    Phrases are English, which is what SAM 3 reads. The next question about the same frame is quicker than the first.
    """
    return await predicting.predict(transactions, sam3, frame_id, asked)


@router.post(
    "/projects/{project_id}/concepts:preview",
    operation_id="preview_concept",
    response_model=Preview,
    responses={**documented(409), 200: {"content": {_PNG: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def preview_concept(
    project_id: ProjectId,
    asked: ConceptPreview,
    transactions: Transactions,
    sam3: Sam3,
    s3: S3,
    accept: Annotated[str, Header(max_length=1000, description="`image/png` for a sheet to look at.")] = "",
) -> Preview | Response:
    """Try a phrase, or a label's phrases, on up to 16 frames before a job asks it of thousands. Nothing is kept."""
    answer, sheet = await predicting.preview(transactions, sam3, project_id, asked)
    if _PNG in accept:
        return Response(await asyncio.to_thread(sheet.png, s3), media_type=_PNG)
    return answer
