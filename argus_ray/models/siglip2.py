"""SigLIP 2: pictures and words into one space, where the cosine says how well they fit.

The same module serves ingest (pictures, the vision tower alone), search (words and pictures) and tests, for any
fixed-resolution SigLIP 2 checkpoint: sizes, normalisation and vocabulary are read from its folder.

What the checkpoints want, and what goes wrong in silence without it: words in lower case, padded to the length the model
was trained with, and no attention mask (the last position is pooled, padding or not); the pooled output is not
normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AutoTokenizer, SiglipModel, SiglipVisionModel

from argus_ray.errors import ModelUnavailable, ModelUnsupported
from argus_ray.models.loading import Fetch, load_whole, read_config, read_scalar, resolve, weights_id
from argus_ray.models.pixels import Pixels
from argus_ray.models.precision import device_named, dtype_of

Towers = Literal["both", "vision"]


class _VisionTower(SiglipVisionModel):  # type: ignore[misc]  # transformers is untyped
    """The vision half of a whole checkpoint: a quarter of the base model, and all that ingest needs."""

    _keys_to_ignore_on_load_unexpected = (r"^text_model\.", r"^logit_(scale|bias)$")


class Siglip2:
    """A loaded model. Made by `load`; safe to call from one thread at a time.

    `image_size` is the side of its square input, `dim` the length of its vectors, `weights_id` changes whenever an
    embedding may. The model's own word on how probable a match is: sigmoid(`logit_scale` x cosine + `logit_bias`).
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, towers: Towers) -> None:
        options = {"dtype": dtype, "attn_implementation": "sdpa"}
        self._vision: Any
        self._text: Any = None
        if towers == "both":
            whole = load_whole(SiglipModel, folder, **options)
            self._vision, self._text = whole.vision_model.eval().to(device), whole.text_model.eval().to(device)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        else:
            self._vision = load_whole(_VisionTower, folder, **options).eval().to(device)
        self._pixels = Pixels(folder, self._vision.config.image_size, device, dtype)
        self._batch = 128 if device.type == "cuda" else 16
        self.device, self.dtype = device, dtype
        self.image_size: int = self._vision.config.image_size
        self.dim: int = self._vision.config.hidden_size
        self.logit_scale = math.exp(read_scalar(folder, "logit_scale"))
        self.logit_bias = read_scalar(folder, "logit_bias")
        self.weights_id = weights_id(folder)

    def embed_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB pictures uint8 [N, H, W, 3] -> float32 [N, dim], unit length; of another size than the model's, squashed."""
        squashed = self.squash(pixels)
        return self._embed(
            [squashed[i : i + self._batch] for i in range(0, len(pixels), self._batch)], self._embed_pixels
        )

    def squash(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures of any size uint8 [N, H, W, 3] -> [N, S, S, 3], the model's square, without regard to their shape, as
        the model was trained. Those that have the size already are not copied.
        """
        return self._pixels.squash(pixels)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Words in any language the model knows -> float32 [N, dim], unit length. What is beyond the model's length
        (64 tokens) is not read.
        """
        return self._embed([texts[i : i + self._batch] for i in range(0, len(texts), self._batch)], self._embed_words)

    def _embed(self, batches: Sequence[Any], embed: Any) -> NDArray[np.float32]:
        with torch.inference_mode():
            vectors = [F.normalize(embed(batch).float(), dim=-1).cpu().numpy() for batch in batches]
        joined: NDArray[np.float32] = np.concatenate(vectors) if vectors else np.empty((0, self.dim), np.float32)
        if not np.isfinite(joined).all():
            raise ModelUnsupported(
                f"the model's numbers overflow in {self.dtype} on {self.device}: run it on a device with bfloat16, or on the CPU"
            )
        return joined

    def _embed_pixels(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        pooled: torch.Tensor = self._vision(pixel_values=self._pixels(pixels)).pooler_output
        return pooled

    def _embed_words(self, texts: Sequence[str]) -> torch.Tensor:
        if self._text is None:
            raise ModelUnavailable("only the vision tower was loaded, which knows no words: load both towers")
        tokens = self._tokenizer(
            [text.lower() for text in texts],
            padding="max_length",
            max_length=self._text.config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        pooled: torch.Tensor = self._text(input_ids=tokens["input_ids"].to(self.device)).pooler_output
        return pooled


def load(uri: str, device: str = "auto", *, fetch: Fetch | None = None, towers: Towers = "both") -> Siglip2:
    """Load a checkpoint by hub id, folder, `demo:siglip2` or `s3://` URI (with `fetch`).

    ModelUnavailable where the weights cannot be had or are not whole; ModelUnsupported for another kind of model.
    """
    folder = resolve(uri, fetch=fetch)
    _check_family(uri, read_config(folder))
    chosen = device_named(device)
    return Siglip2(folder, chosen, dtype_of(chosen), towers)


def _check_family(uri: str, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind == "siglip2":  # the classes' names mislead: fixed-resolution SigLIP 2 checkpoints are of type "siglip"
        raise ModelUnsupported(
            f"{uri} is a NaFlex checkpoint (pictures of any shape, as lists of patches), which Argus does not run: choose a "
            "fixed-resolution one, such as google/siglip2-base-patch16-224",
            uri=uri,
        )
    if kind != "siglip":
        raise ModelUnsupported(
            f"{uri} is of type {kind!r} and not a SigLIP 2 checkpoint: choose one such as google/siglip2-base-patch16-224",
            uri=uri,
        )
