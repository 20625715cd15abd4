"""Line 6: twenty phrases in one picture, ours beside transformers' own two ways, with the same weights in the same precision.

Per call: `Sam3Model` with picture and phrase, as its documentation begins. The loop: vision features once, then a call a
phrase. Both end with the processor's masks at the picture's size; ours ends with run lengths, duplicates removed. At the size in
which the model makes them the masks are equal, which is checked; on the way up the processor interpolates probabilities,
ours logits, as the library's video class does.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoProcessor, Sam3Model, Sam3Processor

from argus_ray import rle
from argus_ray.models import sam3
from argus_ray.models.concepts import Found, Prompt
from argus_ray.models.loading import is_at_hand, load_whole, resolve
from argus_ray.settings import DEMO_SAM3
from argus_ray.synthetic.scene import COLOURS, random_scene, render
from argus_ray.synthetic.shapes import SHAPES
from tests.bench.measure import Line, side_by_side
from tests.bench.sizes import Sizes

WIDTH, HEIGHT = 1280, 720
PHRASES = 20


def lines(sizes: Sizes) -> list[Line]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = resolve(DEMO_SAM3) if is_at_hand(DEMO_SAM3) else _untrained(Path(scratch))
        ours, theirs = _Ours(folder), _Theirs(folder)
        _check(*(side.at_models_size() for side in (ours, theirs)))
        rounds = sizes.rounds
        anew, again, known, per_call, loop = (
            one.wall_s
            for one in side_by_side(ours.anew, ours.again, ours.known, theirs.per_call, theirs.loop, rounds=rounds)
        )
    told = _told(anew)
    warm = f"phrases that were asked before, on a new picture: {_told(known)}"
    return [
        Line("6a", "20 phrases in one picture", told, f"Sam3Model a call: {_told(per_call)}", per_call / anew, 6, warm),
        Line("6b", "20 phrases in one picture", told, f"vision once, a call a phrase: {_told(loop)}", loop / anew, 2),
        Line("6c", "the same picture again", _told(again), f"Sam3Model a call: {_told(per_call)}", per_call / again, 7),
    ]


class _Ours:
    def __init__(self, folder: Path) -> None:
        self.model = sam3.load(str(folder), "cpu", parts=("concepts",))
        self.picture, phrases = _question()
        self.prompts = [Prompt(phrase) for phrase in phrases]
        self.kept = self.model.features([self.picture])[0]

    def anew(self) -> list[Found]:
        """A picture and phrases that nobody has asked about."""
        self.model._phrases.clear()
        return self.known()

    def known(self) -> list[Found]:
        """A new picture; the phrases are those of every picture."""
        return self.model.find(self.model.features([self.picture])[0], self.prompts)

    def at_models_size(self) -> list[Found]:
        side = self.kept.levels[0].shape[-1]
        return self.model.find(self.kept, self.prompts, size=(side, side))

    def again(self) -> list[Found]:
        return self.model.find(self.kept, self.prompts)


class _Theirs:
    """By `Sam3Model` and its processor alone."""

    def __init__(self, folder: Path) -> None:
        self.model = load_whole(Sam3Model, folder, dtype=torch.float32).eval()
        whole = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.processor: Any = Sam3Processor(whole.image_processor, whole.tokenizer)
        self.picture, self.phrases = _question()
        self.threshold = sam3.load(str(folder), "cpu", parts=("concepts",)).score_threshold

    @torch.inference_mode()
    def per_call(self) -> list[dict[str, Any]]:
        return [
            self._masks(self.model(**self.processor(images=self.picture, text=phrase, return_tensors="pt")))
            for phrase in self.phrases
        ]

    @torch.inference_mode()
    def loop(self) -> list[dict[str, Any]]:
        seen = self.processor(images=self.picture, return_tensors="pt")
        vision = self.model.get_vision_features(pixel_values=seen["pixel_values"])
        return [
            self._masks(self.model(vision_embeds=vision, **self.processor(text=phrase, return_tensors="pt")))
            for phrase in self.phrases
        ]

    @torch.inference_mode()
    def at_models_size(self) -> list[dict[str, Any]]:
        answers = []
        for phrase in self.phrases:
            out = self.model(**self.processor(images=self.picture, text=phrase, return_tensors="pt"))
            answers.append(self._masks(out, tuple(out.pred_masks.shape[-2:])))
        return answers

    def _masks(self, out: Any, size: tuple[int, int] = (HEIGHT, WIDTH)) -> dict[str, Any]:
        [found] = self.processor.post_process_instance_segmentation(
            out, threshold=self.threshold, mask_threshold=0.5, target_sizes=[size]
        )
        answer: dict[str, Any] = found
        return answer


def _check(ours: Sequence[Found], theirs: Sequence[dict[str, Any]]) -> None:
    """Each of our masks is one of theirs with the same score; those that we leave out are duplicates, or empty."""
    for found, other in zip(ours, theirs, strict=True):
        scores = other["scores"].numpy()
        masks = rle.encode_many(other["masks"].numpy().astype(bool)) if len(scores) else []
        whole = [place for place, mask in enumerate(masks) if rle.area(mask)]
        if bool(whole) != bool(found.masks):
            raise AssertionError(f"{len(found.masks)} masks, and theirs are {len(whole)}: the sides do not do the same")
        for score, mask in zip(found.scores, found.masks, strict=True):
            same = rle.iou([mask], [masks[place] for place in whole])[0]
            best = int(same.argmax())
            if same[best] < 0.995 or abs(float(scores[whole[best]]) - float(score)) > 1e-3:
                raise AssertionError(f"a mask is none of theirs (IoU {same[best]:.3f}): the sides do not do the same")


def _question() -> tuple[NDArray[np.uint8], list[str]]:
    pairs = list(itertools.product(COLOURS, SHAPES))
    chosen = np.random.default_rng(6).choice(len(pairs), PHRASES, replace=False)
    return render(random_scene(np.random.default_rng(6)), WIDTH, HEIGHT).rgb.copy(), [
        " ".join(pairs[i]) for i in chosen
    ]


def _untrained(folder: Path) -> Path:
    """The demo's architecture with random weights, where the trained ones are not there: the time is the same."""
    from argus_ray.synthetic.sam3_model import (
        Architecture,
        new_image_model,
        new_video_model,
        save,
        train_clip_tokenizer,
    )

    torch.manual_seed(0)
    tokenizer = train_clip_tokenizer()
    model = new_video_model(new_image_model(Architecture(), tokenizer))
    save(model, tokenizer, folder, {"tracker": "untrained", "score_threshold": 0.2})
    return folder


def _told(wall_s: float) -> str:
    return f"{PHRASES / wall_s:.0f} phrases/s"
