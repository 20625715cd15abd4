"""Models: named sets of weights."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from argus_ray.schemas.common import Schema, Timestamp


class Model(Schema):
    """`image_size` is the side of its square input in pixels; `licence` the terms that whoever added it was shown."""

    id: UUID
    number: int
    family: Literal["siglip2", "sam3"]
    uri: str
    weights_id: str
    image_size: int
    licence: str | None = None
    created_at: Timestamp


class EmbeddingModel(Model):
    """A SigLIP 2: `dim` is the length of its vectors; a match probability is sigmoid(logit_scale x cosine + logit_bias)."""

    dim: int
    logit_scale: float
    logit_bias: float
