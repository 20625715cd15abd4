"""Models: named sets of weights."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from argus_ray.schemas.common import Schema, Timestamp


class Model(Schema):
    """`dim` is the length of its vectors, `image_size` the side of its square input in pixels. A match probability is
    sigmoid(logit_scale x cosine + logit_bias).
    """

    id: UUID
    number: int
    family: Literal["siglip2"]
    uri: str
    weights_id: str
    dim: int
    image_size: int
    logit_scale: float
    logit_bias: float
    created_at: Timestamp
