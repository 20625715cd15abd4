"""Weights on this machine: fetched from S3 once a node, and registered in the catalogue once for all."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
from transformers import SiglipConfig

from argus_ray.catalog import models
from argus_ray.catalog.statement import Tx
from argus_ray.errors import ModelUnavailable
from argus_ray.models.loading import (
    Fetch,
    read_config,
    read_scalar,
    resolve,
    weights_id,
)
from argus_ray.s3 import S3, locate
from argus_ray.schemas.model import EmbeddingModel, Model
from argus_ray.settings import Settings


def fetcher(settings: Settings) -> Fetch:
    """How models at `s3://` URIs come to this node."""
    return partial(_fetch, settings)


def _fetch(settings: Settings, uri: str) -> Path:
    """The folder with the objects under an `s3://bucket/prefix`; fetched by one process, waited for by the others.

    Raises ModelUnavailable when there is nothing under the prefix.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argus" / "models"
    folder = cache / hashlib.sha256(uri.encode()).hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        s3 = S3(settings)
        try:
            at = locate(uri.rstrip("/") + "/")
            names = [key.removeprefix(at.key) for key in s3.keys_under(at)]
            if not names:
                raise ModelUnavailable(f"there are no objects under {uri}: upload the model's folder there", uri=uri)
            beside = Path(tempfile.mkdtemp(dir=cache))
            try:
                for name in names:
                    if "/" in name:  # a model's folder is flat; a nested name could leave it
                        continue
                    with (beside / name).open("wb") as file:
                        for piece in s3.stream(at._replace(key=at.key + name)):
                            file.write(piece)
                beside.rename(folder)
            except BaseException:
                shutil.rmtree(beside)
                raise
        finally:
            s3.close()
    return folder


def register(settings: Settings, uri: str) -> EmbeddingModel:
    """Make the model known to the catalogue, with a partition for its vectors; the same again changes nothing.

    Reads the configuration and two numbers of the weights, and hashes them; loads nothing. Needs the owner's connection,
    `database_url`, since only the registrar may make partitions. Raises ModelUnavailable for weights that cannot be had.
    """
    folder = resolve(uri, fetch=fetcher(settings))
    config = SiglipConfig.from_pretrained(folder, local_files_only=True)
    wanted = weights_id(folder)
    statement = models.register(
        family="siglip2",
        uri=uri,
        weights_id=wanted,
        dim=config.vision_config.hidden_size,
        image_size=config.vision_config.image_size,
        logit_scale=math.exp(read_scalar(folder, "logit_scale")),
        logit_bias=read_scalar(folder, "logit_bias"),
    )
    with _as_registrar(settings) as tx:
        tx.one(statement)
        return tx.one(models.by_weights("siglip2", wanted))


def register_sam3(settings: Settings, uri: str, *, licence: str | None = None) -> Model:
    """Make SAM 3 weights known to the catalogue; the same again changes nothing. Raises ModelUnavailable."""
    folder = resolve(uri, fetch=fetcher(settings))
    config, wanted = read_config(folder), weights_id(folder)
    detector = config.get("detector_config", config)
    statement = models.register_weights(
        family="sam3",
        uri=uri,
        weights_id=wanted,
        image_size=detector["vision_config"]["backbone_config"]["image_size"],
        licence=licence,
    )
    with _as_registrar(settings) as tx:
        tx.one(statement)
        return tx.one(models.known("sam3", wanted))


def register_any(settings: Settings, uri: str) -> Model:
    """Make weights of either family known to the catalogue. Raises ModelUnavailable."""
    kind = read_config(resolve(uri, fetch=fetcher(settings))).get("model_type")
    return register_sam3(settings, uri) if kind in {"sam3", "sam3_video"} else register(settings, uri)


@contextmanager
def _as_registrar(settings: Settings) -> Iterator[Tx]:
    """A transaction of the role that alone may register models."""
    with psycopg.connect(settings.secret("database_url") or "", prepare_threshold=None) as connection:
        connection.execute("set local role argus_registrar")
        connection.execute("set local search_path = argus, extensions")
        yield Tx(connection)
