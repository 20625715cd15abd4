"""SAM 3: name a thing, point at it or show an example, and get every instance of it as a mask.

One folder holds a detector (concepts in a picture) and a tracker (clicks, and objects through video), which share one
vision transformer; it is loaded once, whatever of it is used. Vision features are made once a picture and serve every
prompt. The same module serves requests, jobs and tests, with any checkpoint of the architecture: sizes, thresholds and
vocabulary are read from its folder.

What the checkpoints want, and what goes wrong in silence without it: phrases padded to the model's length, with their
mask; prompts with boxes and those without in different passes (a padded box still adds a token, and changes the scores);
no duplicates left (the model has none removed, and upstream's removal is a binary from the hub).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, Sam3Model

from argus_ray.errors import InvalidRequest, ModelUnavailable, ModelUnsupported
from argus_ray.models import sam3_track
from argus_ray.models.concepts import MOST_IOU, Found, Pointed, Prompt, Segmented, TrackedFrame
from argus_ray.models.loading import Fetch, load_whole, read_config, resolve, weights_id
from argus_ray.models.pixels import Pixels
from argus_ray.models.precision import device_named, dtype_of
from argus_ray.models.sam3_clicks import segment
from argus_ray.models.sam3_detector import Asked, Detected, detect
from argus_ray.models.sam3_masks import encoded
from argus_ray.models.sam3_track import Frames
from argus_ray.models.sam3_video import MOST_OBJECTS, Detect, VideoModel
from argus_ray.rle import Size, area

Part = Literal["concepts", "clicks", "video"]
Tracker = Literal["none", "untrained", "pictures", "video"]

_EXAMPLES_ALONE = "visual"  # the phrase that the model was taught to read as "what is in the boxes"
_LONGEST_PHRASE = 20_000  # characters; a longer one is not even cut into tokens
_PHRASES_KEPT = 1024
_PADDING = -10


@dataclass(frozen=True, eq=False)
class Features:
    """What the model sees in one picture, for as many prompts as one likes. `size` is the picture's (height, width)."""

    size: Size
    levels: tuple[Tensor, ...]
    """Of the detector's pyramid, [1, C, side, side], the finest first."""
    tokens: Tensor
    """Of the vision transformer, [1, G x G, D], from which the tracker makes a pyramid of its own."""

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.levels, self.tokens))


@dataclass(frozen=True, eq=False)
class Question:
    """A prompt for one picture; masks at `size` or the picture's, what passes `threshold` or the model's own."""

    features: Features
    prompt: Prompt
    size: Size | None = None
    threshold: float | None = None


class Sam3:
    """A loaded model. Made by `load`; safe to call from one thread at a time.

    `image_size` is the side of its square input, `weights_id` changes whenever an answer may, `score_threshold` is what
    an instance must pass unless the caller says otherwise, `tracker` says what the folder's tracker has learnt.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, parts: Sequence[Part]) -> None:
        options = {"dtype": dtype, "attn_implementation": "sdpa"}
        facts = _facts(folder)
        self.tracker: Tracker = facts.tracker
        self.score_threshold = facts.score_threshold
        self.video: Any = None
        if facts.tracker in {"pictures", "video"} and set(parts) & {"clicks", "video"}:
            self.video = load_whole(VideoModel, folder, **options).eval().to(device)
            self.video.fill_hole_area = 0  # it would be done by a binary from the hub
            self.video.max_num_objects = MOST_OBJECTS
            self.detector: Any = self.video.detector_model
        else:
            self.detector = load_whole(Sam3Model, folder, **options).eval().to(device)
        vision = self.detector.config.vision_config
        self.image_size: int = vision.backbone_config.image_size
        self.device, self.dtype = device, dtype
        self.weights_id = weights_id(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._most_tokens: int = self.detector.config.text_config.max_position_embeddings
        self._phrases: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._pixels = Pixels(folder, self.image_size, device, dtype)
        budget = (32 if device.type == "cuda" else 8) * 1008**2 / self.image_size**2
        self._most_rows, self._most_outlined = max(1, int(budget)), max(1, int(budget / 4))
        self._most_pictures = max(1, min(16, int(budget / 4)))
        neck = self.detector.vision_encoder.neck
        side = self.image_size // vision.backbone_config.patch_size
        with torch.inference_mode():
            self._positions = tuple(
                neck.position_encoding((1, vision.fpn_hidden_size, scale * side, scale * side), device, dtype)
                for scale in (4, 2, 1)
            )

    @property
    def has_video_tracker(self) -> bool:
        """Whether the tracker has learnt to follow; where it has not, tracking by detection stands in."""
        return self.video is not None and self.tracker == "video"

    def features(self, pictures: Sequence[NDArray[np.uint8]], *, sizes: Sequence[Size] | None = None) -> list[Features]:
        """RGB pictures uint8 [H, W, 3], of any sizes -> what the model sees in each.

        `sizes`, (height, width), are those that the pictures had before somebody made them smaller.
        """
        seen = []
        for first in range(0, len(pictures), self._most_pictures):
            batch = pictures[first : first + self._most_pictures]
            with torch.inference_mode():
                out = self.detector.get_vision_features(self.pixel_values(batch))
            alone = len(batch) == 1
            for row, picture in enumerate(batch):
                levels = (level[row : row + 1] for level in out.fpn_hidden_states[:-1])
                tokens = out.last_hidden_state[row : row + 1]
                seen.append(
                    Features(
                        size=sizes[first + row] if sizes else (picture.shape[0], picture.shape[1]),
                        # a copy, so that one that is kept does not keep the others
                        levels=tuple(level if alone else level.clone() for level in levels),
                        tokens=tokens if alone else tokens.clone(),
                    )
                )
        return seen

    def squash(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture as small as the model sees it, uint8 [S, S, 3]."""
        square: NDArray[np.uint8] = self._pixels.squash(picture[None])[0]
        return square

    def pixel_values(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """RGB pictures uint8 [H, W, 3], of any sizes -> what goes in, [N, 3, S, S]."""
        return self._pixels(np.stack([self.squash(picture) for picture in pictures]))

    def check(self, prompt: Prompt) -> None:
        """InvalidRequest for a phrase that is empty, or longer than the model reads."""
        if prompt.text is not None:
            self._tokens([prompt.text])

    def find(
        self, features: Features, prompts: Sequence[Prompt], *, size: Size | None = None, threshold: float | None = None
    ) -> list[Found]:
        """The instances of each prompt in one picture. Masks have the picture's size, or `size` (height, width)."""
        return self.find_all([(features, prompt) for prompt in prompts], size=size, threshold=threshold)

    def find_all(
        self,
        asked: Sequence[tuple[Features, Prompt]],
        *,
        size: Size | None = None,
        threshold: float | None = None,
    ) -> list[Found]:
        """As `find`, for prompts of several pictures together. Raises InvalidRequest as `check` does, before any work."""
        return self.answer([Question(features, prompt, size, threshold) for features, prompt in asked])

    def answer(self, questions: Sequence[Question]) -> list[Found]:
        """As `find`, for questions of several askers together."""
        found: list[Found | None] = [None] * len(questions)
        with torch.inference_mode():
            texts = self._texts([_phrase(question.prompt) for question in questions])
            for rows in self._passes([question.prompt for question in questions]):
                some = [questions[row] for row in rows]
                asked = self._asked(
                    [question.features for question in some],
                    [question.prompt for question in some],
                    [texts[row] for row in rows],
                )
                floors = [self._floor(question.threshold) for question in some]
                for row, question, detected in zip(rows, some, self.detect(asked, floors), strict=True):
                    found[row] = _found(detected, question.size or question.features.size)
        return [answer for answer in found if answer is not None]

    def _floor(self, threshold: float | None) -> float:
        return self.score_threshold if threshold is None else threshold

    def _passes(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Which prompts go together: those with boxes and those without apart, no more than memory allows."""
        apart: tuple[list[int], list[int]] = [], []
        for row, prompt in enumerate(prompts):
            apart[bool(prompt.boxes or prompt.negative)].append(row)
        return [
            rows[first : first + self._most_rows] for rows in apart for first in range(0, len(rows), self._most_rows)
        ]

    def _asked(
        self, pictures: Sequence[Features], prompts: Sequence[Prompt], texts: Sequence[tuple[Tensor, Tensor]]
    ) -> Asked:
        boxes, labels = self._boxes(prompts)
        return Asked(
            levels=tuple(
                self._stacked([picture.levels[level] for picture in pictures]) for level in range(len(self._positions))
            ),
            positions=self._positions,
            text=torch.cat([text for text, _ in texts]),
            text_mask=torch.cat([mask for _, mask in texts]),
            boxes=boxes,
            box_labels=labels,
        )

    def _stacked(self, rows: Sequence[Tensor]) -> Tensor:
        """[1, ...] each -> [B, ...]; of one picture without a copy."""
        if all(row is rows[0] for row in rows):
            return rows[0].expand(len(rows), -1, -1, -1)
        return torch.cat(list(rows))

    def _boxes(self, prompts: Sequence[Prompt]) -> tuple[Tensor | None, Tensor | None]:
        most = max(len(prompt.boxes) + len(prompt.negative) for prompt in prompts)
        if not most:
            return None, None
        boxes = torch.zeros(len(prompts), most, 4)
        labels = torch.full((len(prompts), most), _PADDING)
        for row, prompt in enumerate(prompts):
            for place, (x, y, width, height) in enumerate((*prompt.boxes, *prompt.negative)):
                boxes[row, place] = torch.tensor([x + width / 2, y + height / 2, width, height])
                labels[row, place] = int(place < len(prompt.boxes))
        return boxes.to(self.device, self.dtype), labels.to(self.device)

    def segment(self, features: Features, objects: Sequence[Pointed], *, size: Size | None = None) -> list[Segmented]:
        """The masks of objects that are pointed at in one picture, at the picture's size or `size` (height, width); a mask
        that is given has the same.

        ModelUnsupported for weights whose tracker has not learnt to; InvalidRequest for a mask of another size.
        """
        if self.video is None:
            why = "has not been trained" if self.tracker == "untrained" else "is missing or was not loaded"
            raise ModelUnsupported(
                f"these weights cannot follow clicks, since their tracker {why}: ask by a phrase or by boxes around examples"
            )
        with torch.inference_mode():
            return segment(
                self.video,
                features.tokens,
                objects,
                size=size or features.size,
                most_rows=self._most_outlined,
            )

    def track(
        self,
        frames: Frames,
        *,
        concepts: Sequence[Prompt] = (),
        objects: Sequence[Pointed] = (),
        size: Size | None = None,
        threshold: float | None = None,
    ) -> Iterator[TrackedFrame]:
        """Through video with memory that does not depend on its length: what phrases name, or the objects pointed at in
        the first frame. Either, not both. Frames of one size; their times may run backwards.

        Each answer says by which method: where `has_video_tracker` is false it is tracking by detection.
        """
        if bool(concepts) == bool(objects):
            raise InvalidRequest("give phrases to look for, or objects to follow: one of the two")
        if any(prompt.text is None or prompt.boxes or prompt.negative for prompt in concepts):
            raise InvalidRequest("through video a concept is a phrase: boxes around examples belong to one picture")
        for prompt in concepts:
            self.check(prompt)
        if concepts:
            return sam3_track.concepts(self, frames, concepts, size=size, threshold=self._floor(threshold))
        return sam3_track.objects(self, frames, objects, size=size)

    def detector_of(self, prompts: Sequence[Prompt], floor: float) -> Detect:
        """Detection of these phrases from the pyramid of one picture after the other."""
        with torch.inference_mode():
            texts = self._texts([_phrase(prompt) for prompt in prompts])
        most_iou = self.video.det_nms_thresh or MOST_IOU

        def detect_all(levels: tuple[Tensor, ...]) -> list[Detected]:
            found: list[Detected] = []
            for first in range(0, len(texts), self._most_rows):
                some = texts[first : first + self._most_rows]
                asked = Asked(
                    levels=tuple(level.expand(len(some), -1, -1, -1) for level in levels),
                    positions=self._positions,
                    text=torch.cat([text for text, _ in some]),
                    text_mask=torch.cat([mask for _, mask in some]),
                )
                found += self.detect(asked, [floor] * len(some), most_iou)
            return found

        return detect_all

    def detect(self, asked: Asked, floors: Sequence[float], most_iou: float = MOST_IOU) -> list[Detected]:
        """The instances of each row above its floor; rows that memory allows in one pass."""
        return detect(self.detector, asked, floors=floors, most_iou=most_iou, most_outlined=self._most_outlined)

    def _texts(self, phrases: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Each phrase's features [1, L, C] and mask [1, L]; a phrase is read once."""
        new = list(dict.fromkeys(phrase for phrase in phrases if phrase not in self._phrases))
        if new:
            tokens = {name: ids.to(self.device) for name, ids in self._tokens(new).items()}
            features = self.detector.get_text_features(**tokens).pooler_output
            for row, phrase in enumerate(new):
                mask = tokens["attention_mask"][row : row + 1].bool()
                self._phrases[phrase] = features[row : row + 1].clone(), mask
        known = [self._phrases[phrase] for phrase in phrases]
        for phrase in phrases:
            self._phrases.move_to_end(phrase)
        while len(self._phrases) > _PHRASES_KEPT:
            self._phrases.popitem(last=False)
        return known

    def _tokens(self, phrases: Sequence[str]) -> dict[str, Tensor]:
        for phrase in phrases:
            self._check_phrase(phrase)
        tokens = self._tokenizer(list(phrases), padding="max_length", max_length=self._most_tokens, return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    def _check_phrase(self, phrase: str) -> None:
        if not phrase.strip():
            raise InvalidRequest("the phrase is empty: name what is to be found, in English, such as 'red car'")
        shorter = "name the thing in a few words, such as 'red car'"
        if len(phrase) > _LONGEST_PHRASE:
            raise InvalidRequest(
                f"the phrase has {len(phrase)} characters, and the model reads {self._most_tokens} tokens, about 20 words: "
                f"{shorter}"
            )
        count = len(self._tokenizer(phrase, verbose=False)["input_ids"])
        if count > self._most_tokens:
            raise InvalidRequest(
                f"the phrase has {count} tokens (begin and end among them) and the model reads {self._most_tokens}: {shorter}",
                tokens=count,
                limit=self._most_tokens,
            )


def _found(detected: Detected, size: Size) -> Found:
    masks = encoded(detected.logits, size)
    whole = [place for place, mask in enumerate(masks) if area(mask)]  # a speck may fall between the pixels of `size`
    corners = detected.boxes[whole]
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    return Found(
        scores=detected.scores[whole].cpu().numpy(),
        presence=detected.presence,
        boxes=boxes.cpu().numpy(),
        masks=[masks[place] for place in whole],
    )


def _phrase(prompt: Prompt) -> str:
    return _EXAMPLES_ALONE if prompt.text is None else prompt.text


def load(uri: str, device: str = "auto", *, fetch: Fetch | None = None, parts: Sequence[Part] = get_args(Part)) -> Sam3:
    """Load a checkpoint by hub id, folder, `demo:sam3` or `s3://` URI (with `fetch`); `parts` are what it is wanted for.

    ModelUnavailable where the weights cannot be had or are not whole; ModelUnsupported for another kind of model.
    """
    folder = resolve(uri, fetch=fetch)
    kind = read_config(folder).get("model_type")
    if kind not in {"sam3_video", "sam3"}:
        raise ModelUnsupported(
            f"{uri} is of type {kind!r} and not a SAM 3 checkpoint: choose one such as facebook/sam3", uri=uri
        )
    chosen = device_named(device)
    # the CPU's bfloat16 is quick, and rounds masks' edges away
    return Sam3(folder, chosen, dtype_of(chosen) if chosen.type == "cuda" else torch.float32, parts)


@dataclass(frozen=True)
class _Facts:
    """What Argus notes beside weights that it made, in `argus.json`; weights from elsewhere have learnt everything."""

    tracker: Tracker
    score_threshold: float


def _facts(folder: Path) -> _Facts:
    noted: dict[str, Any] = {}
    file = folder / "argus.json"
    if file.is_file():
        try:
            noted = json.loads(file.read_text())
        except ValueError as error:
            raise ModelUnavailable(f"{file} is not JSON: fetch the model again") from error
    tracker: Any = noted.get("tracker", "video") if read_config(folder)["model_type"] == "sam3_video" else "none"
    if tracker not in get_args(Tracker):
        raise ModelUnavailable(f"{file} calls the tracker {tracker!r}: it is one of {', '.join(get_args(Tracker))}")
    return _Facts(tracker=tracker, score_threshold=float(noted.get("score_threshold", 0.5)))
