"""Weights from the hub to S3, once for all nodes.

Nodes of a cluster often have no way to the hub, and none should have a token for it. So whoever runs Argus adds a model
once: every file is fetched to this machine, its hash compared with the one that the hub states, the whole loaded for a
trial, and only then written to S3, under the name of the commit; then it is registered, with the licence that was shown.
A transfer that breaks goes on where it broke when the same is asked again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from argus_ray import weights
from argus_ray.errors import ConfigurationError, ModelUnavailable, ModelUnsupported
from argus_ray.models.loading import USED_FILES, asking_hub, load_whole, named_at_hub, read_config, weights_id
from argus_ray.s3 import S3
from argus_ray.schemas.model import Model
from argus_ray.settings import Settings

Tell = Callable[[str], None]

_NEEDED = "config.json"


@dataclass(frozen=True)
class File:
    """What the hub states of a file: sha256 of large ones, of others the hash that git gives a blob."""

    name: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Offer:
    """A model at the hub, at one commit; `gated` where its licence has to be accepted there first."""

    repo: str
    commit: str
    licence: str
    licence_url: str
    gated: bool
    files: tuple[File, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def prefix(self) -> str:
        """Where it lies in the bucket."""
        return f"models/{self.repo}/{self.commit[:12]}/"


def look(name: str, *, endpoint: str | None = None) -> Offer:
    """What the hub has under `owner/name` or `owner/name@revision`. Raises ModelUnavailable."""
    from huggingface_hub import HfApi

    named = named_at_hub(name)
    if named is None:
        raise ModelUnavailable(f"{name!r} is no hub id: give one such as facebook/sam3, or facebook/sam3@revision")
    repo, revision = named
    with asking_hub(repo, revision):
        found = HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True)
    files = tuple(
        File(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None, None if one.lfs else one.blob_id)
        for one in found.siblings or []
        if "/" not in one.rfilename and any(fnmatch(one.rfilename, pattern) for pattern in USED_FILES)
    )
    if not any(file.name == _NEEDED for file in files) or found.sha is None:
        raise ModelUnsupported(f"{name} is no model that transformers loads: it has no {_NEEDED}", uri=name)
    card = found.card_data
    page = f"https://huggingface.co/{repo}"
    return Offer(
        repo=repo,
        commit=found.sha,
        licence=_stated(card, "license_name") or _stated(card, "license") or "not stated",
        licence_url=_stated(card, "license_link") or page,
        gated=bool(found.gated),
        files=files,
    )


def _stated(card: Any, name: str) -> str:
    """A line of the model's card, as far as a row can hold it."""
    return str(getattr(card, name, None) or "")[:400]


@dataclass(frozen=True)
class Added:
    """`uri` is what settings name. The same weights may have been registered before, from elsewhere."""

    uri: str
    model: Model


def add(settings: Settings, offer: Offer, tell: Tell, *, endpoint: str | None = None) -> Added:
    """Bring an offered model to S3 and register it.

    Raises ModelUnavailable for what the hub refuses, breaks off or sends wrong, and for weights that are not whole;
    ModelUnsupported for a model of another family. Nothing is in S3 then that was not there before.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not settings.secret("database_url"):
        raise ConfigurationError("ARGUS_DATABASE_URL is empty: registering a model takes the owner's connection")
    folder = _staging(offer)
    disable_progress_bars()  # `tell` says what comes
    for file in sorted(offer.files, key=lambda file: (file.name != _NEEDED, file.size_bytes)):
        _fetch(offer, file, folder, tell, endpoint)
        if file.name == _NEEDED:
            check_family(offer.repo, read_config(folder))
    tell("loading it for a trial")
    _load(folder)
    uri = f"s3://{settings.bucket}/{offer.prefix.rstrip('/')}"
    s3 = S3(settings)
    try:
        for file in offer.files:
            tell(f"{file.name} to {uri}")
            s3.put_file(offer.prefix + file.name, folder / file.name)
    finally:
        s3.close()
    licence = f"{offer.licence} ({offer.licence_url})"
    model = _register(settings, uri, read_config(folder), licence)
    if model.weights_id != weights_id(folder):  # it was read back from S3
        raise ModelUnavailable(f"what lies under {uri} is not what was written there: add the model again", uri=uri)
    shutil.rmtree(folder)
    return Added(uri, model)


def check_family(name: str, config: dict[str, Any]) -> None:
    """ModelUnsupported unless Argus runs models of this type."""
    if config.get("model_type") not in {"sam3", "sam3_video", "siglip"}:
        raise ModelUnsupported(
            f"{name} is of type {config.get('model_type')!r}: Argus runs SAM 3 (facebook/sam3) and fixed-resolution SigLIP 2 "
            "(google/siglip2-base-patch16-224)",
            uri=name,
        )


def _staging(offer: Offer) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argus" / "arriving"
    folder = cache / f"{offer.repo.replace('/', '--')}@{offer.commit[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetch(offer: Offer, file: File, folder: Path, tell: Tell, endpoint: str | None) -> None:
    """The file, whole, into the folder. What has arrived of it is kept when the transfer breaks."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, and not exported

    path, part = folder / file.name, folder / f"{file.name}.part"
    if path.exists():
        return
    arrived = part.stat().st_size if part.exists() else 0
    tell(
        f"{file.name} ({file.size_bytes / 2**20:.1f} MiB) from the hub"
        + (f", from byte {arrived} on" if arrived else "")
    )
    url = hf_hub_url(offer.repo, file.name, revision=offer.commit, endpoint=endpoint)
    try:
        with asking_hub(offer.repo, offer.commit), part.open("ab") as out:
            http_get(url, out, resume_size=arrived, headers=build_hf_headers(), expected_size=file.size_bytes)
    except ModelUnavailable as error:
        if not (arrived := part.stat().st_size):
            raise
        raise ModelUnavailable(
            f"the transfer of {file.name} broke off after {arrived} of {file.size_bytes} bytes: ask for the same again, and it "
            "goes on from there",
            uri=offer.repo,
        ) from error
    if not _is_whole(part, file):
        part.unlink()
        raise ModelUnavailable(
            f"{file.name} is not the file that the hub states, since its hash is another: it was thrown away. Ask for the same "
            "again, and if it happens again, distrust what stands between this machine and the hub",
            uri=offer.repo,
        )
    part.rename(path)


def _is_whole(path: Path, file: File) -> bool:
    if path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as opened:
        if file.sha256:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        git = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
        while piece := opened.read(2**20):
            git.update(piece)
    return git.hexdigest() == file.git_sha1


def _load(folder: Path) -> None:
    """Raises ModelUnavailable unless the weights fill the whole model."""
    import torch
    from transformers import Sam3Model, Sam3VideoModel, SiglipModel

    classes = {"sam3": Sam3Model, "sam3_video": Sam3VideoModel, "siglip": SiglipModel}
    load_whole(classes[read_config(folder)["model_type"]], folder, dtype=torch.bfloat16)


def _register(settings: Settings, uri: str, config: dict[str, Any], licence: str) -> Model:
    if config["model_type"] == "siglip":
        return weights.register(settings, uri)
    return weights.register_sam3(settings, uri, licence=licence)
