"""How well a SAM 3 folder finds the things of the drawn world.

    python -m argus_ray.synthetic.evaluate_sam3 FOLDER --frames 200

The frames are those of drawn videos (640 x 360, one to six things) of seeds that no training uses, kept as JPEG as Argus
keeps them. Of every frame is asked each colour and shape, and each shape, that is there, and as many that are not: half
of the false phrases have one attribute right. A detection is a hit when its mask and that of a thing of its own share half
of their union (IoU > 0.5). Duplicates are removed by mask IoU, as Argus does.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import (
    CLIPTokenizer,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerModel,
    Sam3TrackerVideoModel,
    Sam3TrackerVideoProcessor,
)
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from argus_ray.synthetic.sam3_scenes import COLOUR_NAMES, SHAPE_NAMES, Concept, phrase
from argus_ray.synthetic.scene import Drawing, Scene, random_scene
from argus_ray.synthetic.video import plan_video

SIZE = (640, 360)
SAME_MASK = 0.5  # mask IoU above which two masks show the same thing
_FLOOR = 0.02  # detections of a lower score are not looked at
_SEEN_PIXELS = 200  # a thing of which less is seen is not counted


@dataclass(frozen=True)
class Frame:
    """One frame: its picture as it is stored, and the exact mask of each of its things."""

    rgb: NDArray[np.uint8]  # [H, W, 3]
    colours: list[int]
    shapes: list[int]
    masks: NDArray[np.bool_]  # [things, H, W]
    concepts: list[Concept]  # true ones, then as many false

    def meant(self, concept: Concept) -> list[int]:
        return [
            number
            for number, (colour, shape) in enumerate(zip(self.colours, self.shapes, strict=True))
            if concept.colour in (None, colour) and concept.shape in (None, shape)
        ]


@dataclass(frozen=True)
class Answer:
    """What was found for one phrase: by falling score, duplicates removed; IoU [found, meant]."""

    concept: Concept
    present: bool
    said_present: bool
    scores: NDArray[np.float64]
    iou: NDArray[np.float64]


def draw_frames(count: int, seed: int) -> Iterator[Frame]:
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        truth = plan_video(rng, 4.0, scenes=[random_scene(rng, (1, 6))], size=SIZE)
        pts_us = truth.pts_us(int(rng.integers(truth.frames)))
        frame = _frame(truth.shot_at(pts_us).scene, truth.drawing_at(pts_us), rng)
        if frame.shapes:
            yield frame


def _stored(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=85)
    return np.array(Image.open(file))


def _frame(scene: Scene, drawing: Drawing, rng: np.random.Generator) -> Frame:
    masks = np.stack([drawing.ids == thing.id for thing in scene.things])
    seen = np.flatnonzero(masks.sum((1, 2)) >= _SEEN_PIXELS)
    colours = [COLOUR_NAMES.index(scene.things[i].colour) for i in seen]
    shapes = [SHAPE_NAMES.index(scene.things[i].shape) for i in seen]
    pairs = set(zip(colours, shapes, strict=True))
    true = [Concept(*pair) for pair in sorted(pairs)] + [Concept(None, shape) for shape in sorted(set(shapes))]
    false: list[Concept] = []
    for concept in true:
        while True:
            colour, shape = int(rng.integers(len(COLOUR_NAMES))), int(rng.integers(len(SHAPE_NAMES)))
            if concept.colour is None:
                wrong = Concept(None, shape)
            else:
                chance = rng.random()
                wrong = Concept(
                    concept.colour if chance < 0.25 else colour, concept.shape if 0.25 <= chance < 0.5 else shape
                )
            there = wrong.shape in shapes if wrong.colour is None else (wrong.colour, wrong.shape) in pairs
            if not there:
                false.append(wrong)
                break
    return Frame(_stored(drawing.rgb), colours, shapes, masks[seen], [*true, *false])


def pixels_of(frame: Frame, size: int) -> Tensor:
    """The picture as SAM 3's processor makes it: squashed to a square, in ±1."""
    pixels = torch.from_numpy(frame.rgb).permute(2, 0, 1)[None]
    square = F.interpolate(pixels.float(), size=(size, size), mode="bilinear", antialias=True)
    return square.round().clamp(0, 255) / 127.5 - 1


def overlaps(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mask IoU of each of `found` [n, H, W] with each of `wanted` [m, H, W]."""
    pixels = found.shape[1] * found.shape[2]
    one, other = found.reshape(-1, pixels).astype(np.float32), wanted.reshape(-1, pixels).astype(np.float32)
    inner = one @ other.T
    iou: NDArray[np.float64] = inner / np.maximum(one.sum(1)[:, None] + other.sum(1)[None] - inner, 1)
    return iou


def without_duplicates(scores: NDArray[np.float64], masks: NDArray[np.bool_]) -> list[int]:
    """By falling score, those that show nothing that a better one shows already."""
    iou = overlaps(masks, masks)
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable"):
        if masks[number].any() and all(iou[number, better] <= SAME_MASK for better in kept):
            kept.append(int(number))
    return kept


@torch.inference_mode()
def ask(
    model: Sam3Model, tokenizer: CLIPTokenizer, frame: Frame, boxes: list[tuple[Tensor, Tensor]] | None = None
) -> list[Answer]:
    """The answers to a frame's concepts, all in one batch; with `boxes` (and labels) to those exemplars instead."""
    seen = model.get_vision_features(pixels_of(frame, model.config.image_size))
    phrases = ["visual"] * len(boxes) if boxes is not None else [phrase(concept) for concept in frame.concepts]
    read = tokenizer(phrases, padding="max_length", max_length=32, return_tensors="pt")
    shown = (
        {"input_boxes": torch.stack([b for b, _ in boxes]), "input_boxes_labels": torch.stack([n for _, n in boxes])}
        if boxes is not None
        else {}
    )
    spread = Sam3VisionEncoderOutput(
        fpn_hidden_states=tuple(level.expand(len(phrases), -1, -1, -1) for level in seen.fpn_hidden_states),
        fpn_position_encoding=tuple(place.expand(len(phrases), -1, -1, -1) for place in seen.fpn_position_encoding),
    )
    out = model(vision_embeds=spread, input_ids=read["input_ids"], attention_mask=read["attention_mask"], **shown)
    scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid()).double().numpy()
    answers = []
    for row in range(len(phrases)):
        concept = frame.concepts[row] if boxes is None else Concept(frame.colours[row], frame.shapes[row])
        meant = frame.meant(concept)
        likely = np.flatnonzero(scores[row] > _FLOOR)
        small = (out.pred_masks[row, likely] > 0).numpy()
        kept = likely[without_duplicates(scores[row, likely], small)] if likely.size else likely
        masks = F.interpolate(out.pred_masks[row, kept][:, None].float(), size=SIZE[::-1], mode="bilinear")[:, 0] > 0
        answers.append(
            Answer(
                concept=concept,
                present=bool(meant),
                said_present=float(out.presence_logits[row]) > 0,
                scores=scores[row, kept],
                iou=overlaps(masks.numpy(), frame.masks[meant]),
            )
        )
    return answers


def count(answers: list[Answer], threshold: float) -> tuple[int, int, int, list[float]]:
    """Hits, false ones, missed ones, and the mask IoU of each hit."""
    hits, false, missed = 0, 0, 0
    ious: list[float] = []
    for answer in answers:
        iou = answer.iou[answer.scores > threshold]
        rows, columns = linear_sum_assignment(-iou)
        good = [
            float(iou[row, column]) for row, column in zip(rows, columns, strict=True) if iou[row, column] > SAME_MASK
        ]
        hits, ious = hits + len(good), ious + good
        false, missed = false + len(iou) - len(good), missed + iou.shape[1] - len(good)
    return hits, false, missed, ious


def f1(answers: list[Answer], threshold: float) -> float:
    hits, false, missed, _ = count(answers, threshold)
    return 2 * hits / max(1, 2 * hits + false + missed)


def best_threshold(answers: list[Answer]) -> float:
    """The score above which a detection should count: of those whose F1 here is within 0.005 of the best, which a few
    hundred phrases cannot tell apart, the one nearest to the middle.
    """
    tried = {threshold: f1(answers, threshold) for threshold in (round(0.05 * step, 2) for step in range(2, 17))}
    best = max(tried.values())
    return min(
        (threshold for threshold, reached in tried.items() if reached >= best - 0.005), key=lambda it: abs(it - 0.5)
    )


def measure(answers: list[Answer], threshold: float) -> dict[str, float]:
    hits, false, missed, ious = count(answers, threshold)
    return {
        "f1": round(f1(answers, threshold), 3),
        "precision": round(hits / max(1, hits + false), 3),
        "recall": round(hits / max(1, hits + missed), 3),
        "mask_iou_of_hits": round(float(np.mean(ious)), 3) if ious else 0.0,
        "presence_accuracy": round(float(np.mean([a.present == a.said_present for a in answers])), 3),
        "f1_seen_pairs": round(f1([a for a in answers if not a.concept.held_out], threshold), 3),
        "f1_held_out_pairs": round(f1([a for a in answers if a.concept.held_out], threshold), 3),
        "phrases": len(answers),
    }


def ask_exemplars(model: Sam3Model, tokenizer: CLIPTokenizer, frame: Frame) -> list[Answer]:
    """Each thing of a frame shown by its box: everything of its colour and shape is meant."""
    boxes = [(box_of(mask)[None], torch.tensor([1])) for mask in frame.masks]
    return ask(model, tokenizer, frame, boxes)


def box_of(mask: NDArray[np.bool_]) -> Tensor:
    """Centre, width and height of a mask's box, as fractions."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    left, right, top, bottom = columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height
    return torch.tensor([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dtype=torch.float32)


@torch.inference_mode()
def point(model: Sam3TrackerModel, frame: Frame, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """Mask IoU of the answers to one click on each thing of a frame, and to its box."""
    size = model.config.image_size
    maps = model.get_image_embeddings(pixels_of(frame, size))
    clicks, boxes = [], []
    for mask in frame.masks:
        rows, columns = np.nonzero(mask)
        at = rng.integers(len(rows))
        clicks.append([[(columns[at] + 0.5) / mask.shape[1] * size, (rows[at] + 0.5) / mask.shape[0] * size]])
        centre, extent = box_of(mask)[:2] * size, box_of(mask)[2:] * size
        boxes.append(torch.cat([centre - extent / 2, centre + extent / 2]))
    labels = torch.ones(1, len(clicks), 1, dtype=torch.int32)
    by_click = model(
        image_embeddings=maps,
        input_points=torch.tensor([clicks], dtype=torch.float32),
        input_labels=labels,
        multimask_output=False,
    )
    by_box = model(image_embeddings=maps, input_boxes=torch.stack(boxes)[None], multimask_output=False)

    def right(masks: Tensor) -> list[float]:
        large = F.interpolate(masks[0].float(), size=SIZE[::-1], mode="bilinear")[:, 0] > 0
        return [float(iou) for iou in overlaps(large.numpy(), frame.masks).diagonal()]

    return right(by_click.pred_masks), right(by_box.pred_masks)


@dataclass(frozen=True)
class Clip:
    """Some frames of a drawn video, a fifth of a second apart, as they are stored, and the masks of its things."""

    rgb: list[NDArray[np.uint8]]
    masks: NDArray[np.bool_]  # [T, things, H, W]


def draw_clips(count: int, seed: int, frames: int = 10) -> Iterator[Clip]:
    for number in range(count):
        rng = np.random.default_rng([seed, number, 1])
        truth = plan_video(rng, frames / 5, scenes=[random_scene(rng, (1, 6))], size=SIZE)
        things = truth.shots[0].scene.things
        drawings = [truth.drawing_at(200_000 * frame) for frame in range(frames)]
        masks = np.stack([[drawing.ids == thing.id for thing in things] for drawing in drawings])
        if things:
            yield Clip([_stored(drawing.rgb) for drawing in drawings], masks)


@torch.inference_mode()
def follow(model: Sam3TrackerVideoModel, processor: Sam3TrackerVideoProcessor, clip: Clip) -> list[float]:
    """Mask IoU of each thing in each frame but the first, of which the masks are given."""
    session = processor.init_video_session(
        video=[Image.fromarray(rgb) for rgb in clip.rgb], inference_device="cpu", dtype=torch.float32
    )
    things = list(range(clip.masks.shape[1]))
    processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=things, input_masks=list(clip.masks[0]))
    model(inference_session=session, frame_idx=0)
    ious: list[float] = []
    for out in model.propagate_in_video_iterator(session, start_frame_idx=0):
        if out.frame_idx:
            large = F.interpolate(out.pred_masks.float(), size=SIZE[::-1], mode="bilinear")[:, 0] > 0
            ious += [float(iou) for iou in overlaps(large.numpy(), clip.masks[out.frame_idx]).diagonal()]
    return ious


def follow_all(folder: Path, clips: int, seed: int) -> float:
    """Mean mask IoU over the later frames of so many clips."""
    model = Sam3TrackerVideoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Sam3TrackerVideoProcessor.from_pretrained(folder)
    return float(np.mean([iou for clip in draw_clips(clips, seed) for iou in follow(model, processor, clip)]))


def evaluate(folder: Path, frames: int = 200, seed: int = 2026) -> dict[str, float]:
    """The figures of a model's card, at the threshold that its `argus.json` states (0.5 where there is none)."""
    stated: dict[str, Any] = json.loads((folder / "argus.json").read_text()) if (folder / "argus.json").exists() else {}
    threshold = float(stated.get("score_threshold", 0.5))
    model = Sam3Model.from_pretrained(folder, dtype=torch.float32).eval()
    tracker = Sam3TrackerModel.from_pretrained(
        folder, dtype=torch.float32, key_mapping={r"^tracker_model\.": ""}
    ).eval()
    tokenizer = Sam3Processor.from_pretrained(folder).tokenizer
    rng = np.random.default_rng(seed)
    answers: list[Answer] = []
    shown: list[Answer] = []
    clicks: list[float] = []
    boxes: list[float] = []
    for frame in draw_frames(frames, seed):
        answers += ask(model, tokenizer, frame)
        shown += ask_exemplars(model, tokenizer, frame)
        by_click, by_box = point(tracker, frame, rng)
        clicks += by_click
        boxes += by_box
    return {
        **measure(answers, threshold),
        "exemplars_f1": round(f1(shown, threshold), 3),
        "click_mask_iou": round(float(np.mean(clicks)), 3),
        "box_mask_iou": round(float(np.mean(boxes)), 3),
        "score_threshold": threshold,
        "tracked_mask_iou": round(follow_all(folder, max(1, frames // 10), seed), 3),
        "frames": frames,
        "things": len(clicks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the weights")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, figure in evaluate(arguments.folder, arguments.frames, arguments.seed).items():
        print(f"{name:20} {figure}")  # noqa: T201


if __name__ == "__main__":
    main()
