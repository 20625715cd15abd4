"""Registered models: each has a number, and a partition of vectors under it."""

from __future__ import annotations

from argus_ray.catalog.statement import Statement
from argus_ray.errors import Unavailable
from argus_ray.schemas.model import EmbeddingModel, Model


def register(
    *, family: str, uri: str, weights_id: str, dim: int, image_size: int, logit_scale: float, logit_bias: float
) -> Statement[int]:
    """Register these weights once, and make the partition of their vectors; the model's number. For the role
    `argus_registrar` alone.
    """
    return Statement(
        int,
        """
        select argus.register_model(%(family)s, %(uri)s, %(weights_id)s, %(dim)s, %(image_size)s,
                                    %(logit_scale)s, %(logit_bias)s)
        """,
        family=family,
        uri=uri,
        weights_id=weights_id,
        dim=dim,
        image_size=image_size,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


def register_weights(*, family: str, uri: str, weights_id: str, image_size: int, licence: str | None) -> Statement[int]:
    """Register weights that make no vectors once; the model's number. For the role `argus_registrar` alone."""
    return Statement(
        int,
        "select argus.register_weights(%(family)s, %(uri)s, %(weights_id)s, %(image_size)s, %(licence)s)",
        family=family,
        uri=uri,
        weights_id=weights_id,
        image_size=image_size,
        licence=licence,
    )


def known(family: str, weights_id: str) -> Statement[Model]:
    """The registered model of any family with exactly these weights."""
    return Statement(
        Model,
        """
        select id, number, family, uri, weights_id, image_size, licence, created_at
        from models where family = %(family)s and weights_id = %(weights_id)s
        """,
        family=family,
        weights_id=weights_id,
    ).or_raise(_unregistered(family, weights_id))


def by_weights(family: str, weights_id: str) -> Statement[EmbeddingModel]:
    """The registered model with exactly these weights, which makes vectors."""
    return Statement(
        EmbeddingModel,
        """
        select id, number, family, uri, weights_id, dim, image_size, logit_scale, logit_bias, licence, created_at
        from models where family = %(family)s and weights_id = %(weights_id)s
        """,
        family=family,
        weights_id=weights_id,
    ).or_raise(_unregistered(family, weights_id))


def listed() -> Statement[EmbeddingModel]:
    """The models that make vectors."""
    return Statement(
        EmbeddingModel,
        """
        select id, number, family, uri, weights_id, dim, image_size, logit_scale, logit_bias, licence, created_at
        from models where family = 'siglip2' order by number
        """,
    )


def _unregistered(family: str, weights_id: str) -> Unavailable:
    return Unavailable(
        f"the {family} weights {weights_id} are not registered in the catalogue: `argus up` does so, or run "
        "`argus models register`",
        weights_id=weights_id,
    )
