"""The last phase of `train_sam3`: the tracker learns to follow a thing from frame to frame by its memory.

The vision tower, the neck and the maps that the mask decoder reads stay as they are, so they are made once for every
frame of a stock of short clips; a step costs the memory and the decoder only. Things move several times as far as in the
demo's videos, leave the picture, and are gone after a cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import Sam3VideoModel

from argus_ray.synthetic import train_sam3_tracker
from argus_ray.synthetic.sam3_learner import Phase
from argus_ray.synthetic.sam3_losses import dice, focal
from argus_ray.synthetic.sam3_scenes import ASPECT, MAX_THINGS, NOTHING, SHAPE_NAMES, Views, repaint, views, worn
from argus_ray.synthetic.scene import canvas, draw_things, random_scene, training_pair
from argus_ray.synthetic.video import plan_video

CLIP_FRAMES = 8
_VISIBLE = 0.002  # of the picture: a thing of which less is seen is gone


@dataclass(frozen=True)
class Seen:
    """What the decoder says of one thing in each picture."""

    masks: Tensor  # logits [B, M, M]
    quality: Tensor  # [B]: the IoU that it expects
    pointer: Tensor  # [B, D]
    scores: Tensor  # [B, 1]: whether the thing is there


@dataclass(frozen=True)
class Memory:
    """What is kept of a frame: patches of memory and their places [G * G, B, 64], the thing's pointer [B, D]."""

    patches: Tensor
    places: Tensor
    pointer: Tensor


class ClipStock:
    """Clips of things in motion, each frame as the tracker's maps of it (bfloat16) and what each thing covers of it."""

    def __init__(self, model: Sam3VideoModel, clips: int, mask_size: int, rng: np.random.Generator) -> None:
        self.model, self.rng, self.mask_size = model, rng, mask_size
        self.size = model.config.tracker_config.image_size
        self.maps: list[list[Tensor]] = []
        self.cover: list[Tensor] = []  # uint8 [T, K, M, M], in 255ths
        for _ in range(clips):
            self.draw()

    @torch.no_grad()
    def draw(self) -> None:
        clip = self.draw_clip()
        with torch.autocast("cpu", torch.bfloat16):
            patches = self.model.detector_model.vision_encoder.backbone(clip.pixels).last_hidden_state
            maps = train_sam3_tracker.features(self.model, patches)
        self.maps.append([level.to(torch.bfloat16) for level in maps])
        self.cover.append((clip.cover * 255).round().byte())

    def draw_clip(self) -> Views:
        """One clip, its frames as a batch."""
        rng = self.rng
        scene = repaint(random_scene(rng, (1, 5), (0.12, 0.38), training_pair, ASPECT), rng)
        shot = plan_video(rng, 6.0, scenes=[scene]).shots[0]
        far = float(rng.uniform(1, 5))
        shot = replace(shot, sways=tuple(replace(sway, x=sway.x * far, y=sway.y * far) for sway in shot.sways))
        ground = canvas(scene, self.size, self.size)
        apart_us = int(rng.uniform(40_000, 600_000))
        drawings = [draw_things(ground, shot.at(number * apart_us).things, ASPECT) for number in range(CLIP_FRAMES)]
        pixels = torch.from_numpy(np.stack([worn(drawing.rgb, rng) for drawing in drawings])).permute(0, 3, 1, 2)
        ids = torch.from_numpy(np.stack([drawing.ids for drawing in drawings]))
        shapes = torch.full((CLIP_FRAMES, MAX_THINGS), NOTHING)
        for number, thing in enumerate(scene.things):
            shapes[:, number] = SHAPE_NAMES.index(thing.shape)
        return views(pixels.float() / 127.5 - 1, ids, torch.full_like(shapes, NOTHING), shapes, self.mask_size)

    def batch(self, size: int, frames: int) -> tuple[list[list[Tensor]], Tensor]:
        """For each of some frames the maps [B, ...] of one thing's clip, and its covers [B, frames, M, M]. The thing is
        well seen in the first frame. A fifth of the clips are cut: what follows is another clip, without the thing.
        """
        rng = self.rng
        rows: list[list[tuple[int, int]]] = []
        covers: list[Tensor] = []
        while len(rows) < size:
            clip, stride = int(rng.integers(len(self.cover))), int(rng.integers(1, 3))
            first = int(rng.integers(CLIP_FRAMES - stride * (frames - 1)))
            times = [first + stride * number for number in range(frames)]
            if rng.random() < 0.5:
                times.reverse()
            seen = np.flatnonzero(self.cover[clip][times[0]].float().mean((1, 2)).numpy() / 255 > 2 * _VISIBLE)
            if not seen.size:
                continue
            cover = self.cover[clip][times, int(rng.choice(seen))].float() / 255
            row = [(clip, time) for time in times]
            if rng.random() < 0.2:
                cut, other = int(rng.integers(1, frames)), int(rng.integers(len(self.cover)))
                row[cut:] = [(other, time) for time in times[cut:]]
                cover[cut:] = 0
            rows.append(row)
            covers.append(cover)
        maps = [
            [torch.stack([self.maps[clip][level][time] for clip, time in frame]) for level in range(3)]
            for frame in zip(*rows, strict=True)
        ]
        return maps, torch.stack(covers)


class Remembering:
    """Teaches the memory of a model's tracker: `step` is one step of it. What the maps of its clips were made with stays as
    it is.
    """

    def __init__(self, model: Sam3VideoModel, stock: ClipStock, phase: Phase, frames: int = 4) -> None:
        self.model, self.stock, self.phase, self.frames = model, stock, phase, frames
        tracker = model.tracker_model
        tracker.requires_grad_(True)
        for fixed in (tracker.mask_decoder.conv_s0, tracker.mask_decoder.conv_s1):
            fixed.requires_grad_(False)
        _, places = model.tracker_neck(
            torch.zeros(1, model.tracker_neck.fpn_layers[2].proj1.in_channels, *[self._side] * 2)
        )
        self.places = places[2].flatten(2).permute(2, 0, 1)  # [G * G, 1, D]

    @property
    def _side(self) -> int:
        side: int = self.model.tracker_model.prompt_encoder.image_embedding_size[0]
        return side

    def step(self, _: int) -> tuple[Tensor, dict[str, float]]:
        """The first frame is given by a mask, a click or a box; the others have the memory of those before."""
        rng = self.stock.rng
        for _ in range(self.phase.fresh):
            if rng.random() < 0.25:
                self.stock.draw()
                del self.stock.maps[0], self.stock.cover[0]
        maps, covers = self.stock.batch(self.phase.pictures, self.frames)
        with torch.autocast("cpu", torch.bfloat16):
            return self._follow(maps, covers, "mask" if rng.random() < 0.6 else "prompt")

    def _follow(self, maps: list[list[Tensor]], covers: Tensor, given: str) -> tuple[Tensor, dict[str, float]]:
        # In a long video the first frame is long ago: half of the time it is said to be.
        long_ago = int(self.stock.rng.integers(100)) if self.stock.rng.random() < 0.5 else 0
        total, told = torch.zeros(()), {}
        memories: list[Memory] = []
        for number, levels in enumerate(maps):
            truth = covers[:, number]
            there = (truth.mean((1, 2)) > _VISIBLE).float()
            if number == 0 and given == "mask":
                seen = self._given(levels, truth)
            else:
                seen = self._see(levels, memories, long_ago, self._prompt(truth) if number == 0 else {})
                loss, told[f"frame{number}"] = _loss(seen, truth, there)
                total = total + loss
            memories.append(self._memorise(levels[2], seen))
        told["gone"] = float(((seen.scores[:, 0] > 0) == (there > 0)).float().mean())
        return total / len(maps), told

    def follow(self, maps: list[list[Tensor]], first: Tensor, long_ago: int) -> list[Tensor]:
        """Mask logits [B, M, M] of each frame but the first, whose covers are given."""
        seen = [self._given(maps[0], first)]
        memories = [self._memorise(maps[0][2], seen[0])]
        for levels in maps[1:]:
            seen.append(self._see(levels, memories, long_ago, {}))
            memories.append(self._memorise(levels[2], seen[-1]))
        return [it.masks for it in seen[1:]]

    def _see(
        self, levels: list[Tensor], memories: list[Memory], long_ago: int, prompt: dict[str, Tensor | None]
    ) -> Seen:
        if memories:
            return self._decode(levels, self._remembered(levels[2], memories, long_ago), prompt)
        return self._decode(levels, levels[2] + self.model.tracker_model.no_memory_embedding.view(1, -1, 1, 1), prompt)

    def _prompt(self, truth: Tensor) -> dict[str, Tensor | None]:
        """Clicks or boxes on what is covered; of one thing a picture."""
        rows, columns = truth.amax(2) > 0.5, truth.amax(1) > 0.5
        side = truth.shape[-1]

        def ends(line: Tensor) -> tuple[Tensor, Tensor]:
            return line.int().argmax(-1) / side, (side - line.flip(-1).int().argmax(-1)) / side

        (top, bottom), (left, right) = ends(rows), ends(columns)
        boxes = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)[:, None]
        one = truth[:, None]
        prompt, _ = train_sam3_tracker.ask(one, boxes, one.clone(), self.stock.size, self.stock.rng)
        return prompt

    def _decode(
        self, levels: list[Tensor], image: Tensor, prompt: dict[str, Tensor | None], *, several: bool = False
    ) -> Seen:
        """Of several masks the one of which most is expected."""
        tracker = self.model.tracker_model
        if not prompt:  # as the library has it: a point that is none
            prompt = {
                "input_points": torch.zeros(len(image), 1, 1, 2),
                "input_labels": -torch.ones(len(image), 1, 1, dtype=torch.int32),
                "input_boxes": None,
                "input_masks": None,
            }
        sparse, dense = tracker.prompt_encoder(**prompt)
        masks, quality, tokens, scores = tracker.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=tracker.get_image_wide_positional_embeddings().repeat(len(image), 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
            high_resolution_features=levels[:2],
        )
        scores, rows, best = scores[:, 0].float(), torch.arange(len(image)), quality[:, 0].argmax(-1)
        pointer = tracker.object_pointer_proj(tokens[rows, 0, best]).float()
        pointer = torch.where(scores > 0, pointer, tracker.no_object_pointer)
        return Seen(masks[rows, 0, best].float(), quality[rows, 0, best].float(), pointer, scores)

    def _given(self, levels: list[Tensor], truth: Tensor) -> Seen:
        """A first frame whose mask is known: the mask is what is remembered, and the decoder only gives the pointer."""
        tracker = self.model.tracker_model
        size = self.stock.size
        large = F.interpolate(truth[:, None], size=(size, size), mode="bilinear").gt(0.5).float()
        small = F.interpolate(
            tracker.mask_downsample(large).float(),
            size=tracker.prompt_encoder.mask_input_size,
            mode="bilinear",
            antialias=True,
        )
        prompt = {
            "input_points": torch.zeros(len(truth), 1, 1, 2),
            "input_labels": -torch.ones(len(truth), 1, 1, dtype=torch.int32),
            "input_boxes": None,
            "input_masks": small,
        }
        seen = self._decode(levels, levels[2], prompt, several=True)
        return replace(seen, masks=truth * 20 - 10, scores=torch.full((len(truth), 1), 10.0))

    def _remembered(self, level: Tensor, memories: list[Memory], long_ago: int) -> Tensor:
        """The coarsest map of a frame with what is remembered: the first frame always, then those just before."""
        tracker, now = self.model.tracker_model, len(memories)
        count, width = len(level), level.shape[1]
        kept = [(0, memories[0])]
        kept += [(now - number, memories[number]) for number in range(max(1, now - tracker.num_maskmem + 1), now)]
        code = tracker.memory_temporal_positional_encoding
        patches = [memory.patches for _, memory in kept]
        places = [memory.places + code[ago - 1] for ago, memory in kept]
        times = [now + long_ago, *range(1, now)]
        pointers = [memories[0].pointer, *(memories[now - ago].pointer for ago in range(1, now))]
        pointer, pointer_places = tracker._process_object_pointers(  # noqa: SLF001 - inference has no other door
            times, pointers, tracker.config.max_object_pointers_in_encoder, count, width, level.device
        )
        seen = tracker.memory_attention(
            current_vision_features=level.flatten(2).permute(2, 0, 1).float(),
            current_vision_position_embeddings=self.places.expand(-1, count, -1),
            memory=torch.cat([*patches, pointer]),
            memory_posision_embeddings=torch.cat([*places, pointer_places]),
            num_object_pointer_tokens=len(pointer),
        )
        remembered: Tensor = seen[0].transpose(1, 2).reshape(level.shape)
        return remembered

    def _memorise(self, level: Tensor, seen: Seen) -> Memory:
        tracker = self.model.tracker_model
        size = self.stock.size
        large = F.interpolate(seen.masks[:, None], size=(size, size), mode="bilinear")
        large = torch.where(seen.scores[:, :, None, None] > 0, large, torch.full_like(large, -1024.0))
        patches, places = tracker._encode_new_memory(  # noqa: SLF001 - inference has no other door
            level.flatten(2).permute(2, 0, 1).float(), large, seen.scores[..., None], is_mask_from_pts=False
        )
        return Memory(patches.float(), places.float(), seen.pointer)


def _loss(seen: Seen, truth: Tensor, there: Tensor) -> tuple[Tensor, float]:
    """The masks of things that are there, and whether they are; answers with the mean IoU, too."""
    iou = train_sam3_tracker.overlap(seen.masks.detach(), truth)
    count = there.sum().clamp(min=1)
    by_row = 40 * focal(seen.masks, truth).mean((1, 2)) + dice(seen.masks, truth) + 0.2 * (seen.quality - iou) ** 2
    loss = (by_row * there).sum() / count + 0.5 * F.binary_cross_entropy_with_logits(seen.scores[:, 0], there)
    return loss, float((iou * there).sum() / count)
