"""From the name of a model to a folder of weights, and from the folder to a model that is whole.

A name is a hub id (`google/siglip2-base-patch16-224`, with `@revision` where it matters), a folder, `demo:siglip2` or
`demo:sam3` for the small weights inside this package, or `s3://bucket/prefix`. This package knows nothing of S3: who composes it with an
object store passes `fetch`, which brings the objects under a URI into a folder.

Nothing falls back in silence: weights that cannot be had, or that do not fill the whole model, are an error that says
what to do.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from argus_ray.errors import ModelUnavailable

Fetch = Callable[[str], Path]
"""Brings everything under an `s3://` URI into a local folder, and answers with the folder."""

DEMO_MODELS = Path(__file__).parent / "demo"

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
USED_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.md", "LICENSE*"]
_HASHED_FILES = {".safetensors", ".json", ".model", ".txt"}

Model = TypeVar("Model")


def resolve(uri: str, *, fetch: Fetch | None = None) -> Path:
    """The local folder of a model's files; ModelUnavailable where there is none."""
    if uri.startswith("demo:"):
        folder = DEMO_MODELS / uri.removeprefix("demo:")
    elif uri.startswith("s3://"):
        if fetch is None:
            raise ModelUnavailable(
                f"{uri} lies in S3, which cannot be read here: fetch it, and name the folder", uri=uri
            )
        folder = fetch(uri)
    elif (named := named_at_hub(uri)) and not uri.startswith(".") and not Path(uri).exists():
        folder = _from_hub(*named)
    else:
        folder = Path(uri).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(
            f"{uri} holds no model: there is no {folder / 'config.json'}. Name a hub id such as "
            "google/siglip2-base-patch16-224 or facebook/sam3, a folder that save_pretrained wrote, an s3:// prefix with the same "
            "files, demo:siglip2 or demo:sam3",
            uri=uri,
        )
    return folder


def _from_hub(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    with asking_hub(repo, revision):
        return Path(snapshot_download(repo, revision=revision, allow_patterns=USED_FILES))


def named_at_hub(uri: str) -> tuple[str, str | None] | None:
    """Repository and revision of a hub id, `owner/name` or `owner/name@revision`; None for anything else."""
    match = _HUB_ID.fullmatch(uri)
    return (match["repo"], match["revision"]) if match else None


def is_at_hand(uri: str) -> bool:
    """Whether the weights can be had without the hub: they lie in S3, in a folder, in the package, or in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    named = named_at_hub(uri)
    if uri.startswith("s3://"):
        return True
    if uri.startswith("demo:"):
        return (DEMO_MODELS / uri.removeprefix("demo:")).is_dir()
    if named is None or Path(uri).exists():
        return Path(uri).expanduser().is_dir()
    repo, revision = named
    return isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str)


@contextmanager
def asking_hub(repo: str, revision: str | None = None) -> Iterator[None]:
    """Around what asks the hub: its errors as ModelUnavailable, saying what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        advice = f"its licence must be accepted once at https://huggingface.co/{repo}, and HF_TOKEN set to a token of that account"
        raise _unavailable(repo, advice) from error
    except RevisionNotFoundError as error:
        raise _unavailable(repo, f"it has no revision {revision!r}: name one that exists, or none") from error
    except RepositoryNotFoundError as error:
        raise _unavailable(
            repo, "the hub knows no such model: check the name, or set HF_TOKEN if it is private"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, _transport_error()) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403}:
            advice = (
                f"the hub refuses the token in HF_TOKEN ({status}): make one that may read gated models at "
                "https://huggingface.co/settings/tokens, of the account that accepted the licence"
            )
            raise _unavailable(repo, advice) from error
        advice = (
            "the hub cannot be reached and no copy is in the cache (HF_HOME). Give this machine a way to huggingface.co "
            "(and unset HF_HUB_OFFLINE), or download the model elsewhere and name its folder or s3:// prefix in "
            "ARGUS_SIGLIP2_MODEL or ARGUS_SAM3_MODEL, or choose the small weights that ship with Argus (--demo-models), "
            "which know drawn shapes only"
        )
        raise _unavailable(repo, advice) from error


def _transport_error() -> type[Exception]:
    """What the hub's client raises where there is no connection; its HTTP library has had several names."""
    from huggingface_hub import get_session

    library = sys.modules[type(get_session()).__module__.partition(".")[0]]
    error: type[Exception] = library.TransportError
    return error


def _unavailable(repo: str, advice: str) -> ModelUnavailable:
    return ModelUnavailable(f"the weights of {repo} cannot be had: {advice}", uri=repo)


def read_config(folder: Path) -> dict[str, Any]:
    """The model's `config.json`, of which `model_type` names the family."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise ModelUnavailable(f"{folder / 'config.json'} is not JSON: fetch the model again") from error
    return config


def load_whole(model_class: type[Model], folder: Path, **options: Any) -> Model:
    """`from_pretrained` from a local folder, refusing weights that leave a part of the model random or fit no part of it.

    transformers only warns of either, and a model with a random head answers nonsense with confidence. Pickled weights
    are not read, since unpickling runs code.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar per load is noise in an actor's log
    try:
        model, info = model_class.from_pretrained(  # type: ignore[attr-defined]
            folder, output_loading_info=True, local_files_only=True, use_safetensors=True, **options
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelUnavailable(
            f"the weights in {folder} cannot be read ({error}): fetch the model again; only safetensors are read"
        ) from error
    faults = {
        kind: sorted(map(str, info[kind]))
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info[kind]
    }
    if faults:
        told = "; ".join(
            f"{kind.replace('_', ' ')}: {', '.join(keys[:3])} ({len(keys)} in all)" for kind, keys in faults.items()
        )
        raise ModelUnavailable(
            f"the weights in {folder} do not make a whole {model_class.__name__}: {told}. Save the model again with "
            "save_pretrained, or name another",
            **faults,
        )
    whole: Model = model
    return whole


def read_scalar(folder: Path, name: str) -> float:
    """One number of the weights, as the file has it: a model loaded in half precision would have rounded it."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 - it is no mapping
                return float(tensors.get_tensor(name))
    raise ModelUnavailable(f"the weights in {folder} have no {name}: save the model again with save_pretrained")


def weights_id(folder: Path) -> str:
    """16 hex digits that change when any file changes that an embedding depends on: weights, configuration, tokenizer."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _HASHED_FILES:
            with file.open("rb") as opened:
                digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
