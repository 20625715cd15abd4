"""The last phase of `train_sam3`: the tracker learns to turn clicks and boxes into masks, the detector as it is.

The tracker reads the detector's vision tower through a neck of its own, which begins as a copy of the detector's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import Sam3VideoModel

from argus_ray.synthetic.sam3_learner import Phase
from argus_ray.synthetic.sam3_losses import dice, focal
from argus_ray.synthetic.sam3_scenes import ScenePool, Views

CLICKS = 3  # at most, in one prompt


class Pointing:
    """Teaches the tracker of a model: `step` is one step of it, and `parts` is what learns."""

    def __init__(self, model: Sam3VideoModel, pool: ScenePool, phase: Phase, things: int) -> None:
        self.model, self.pool, self.phase, self.things = model, pool, phase, things
        width = model.tracker_model.hidden_dim
        # Is this patch part of what is pointed at? Asked of what the decoder makes of the picture; it only teaches.
        self.where = nn.Linear(width, 1)
        self.parts = nn.ModuleList([model.tracker_model, model.tracker_neck, self.where]).requires_grad_(True)

    def step(self, _: int) -> tuple[Tensor, dict[str, float]]:
        """One click, several, or a box on each of some things of some pictures."""
        rng, pictures = self.pool.rng, self.phase.pictures
        batch = self.pool.batch(pictures, self.phase.fresh)
        chosen = torch.from_numpy(
            np.stack([rng.choice(np.flatnonzero(row) if row.any() else [0], self.things) for row in batch.seen.numpy()])
        )
        rows = torch.arange(pictures)[:, None]
        truth, boxes = batch.cover[rows, chosen], batch.boxes[rows, chosen]
        size = batch.pixels.shape[-1]
        prompt, kind = ask(truth, boxes, batch.cover.sum(1, keepdim=True).clamp(max=1), size, rng)
        several = bool(rng.random() < 0.5)  # of the mask tokens the first answers alone, the others together
        tracker = self.model.tracker_model
        looked: list[Tensor] = []
        watch = tracker.mask_decoder.transformer.register_forward_hook(
            lambda _module, _inputs, output: looked.append(output[1])
        )
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                patches = self.model.detector_model.vision_encoder.backbone(batch.pixels).last_hidden_state
            maps = features(self.model, patches)
            sparse, dense = tracker.prompt_encoder(**prompt)
            masks, quality, _, there = tracker.mask_decoder(
                image_embeddings=maps[2] + tracker.no_memory_embedding.view(1, -1, 1, 1),
                image_positional_embeddings=tracker.get_image_wide_positional_embeddings().repeat(pictures, 1, 1, 1),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
                high_resolution_features=maps[:2],
            )
        masks, quality, there = masks.float(), quality.float(), there.float()
        watch.remove()
        where = self._where_loss(looked[0].float(), truth, batch)
        truth = truth[:, :, None].expand_as(masks)
        flat, right = masks.flatten(0, 2), truth.flatten(0, 2)
        iou = overlap(flat.detach(), right)
        loss = (
            40 * focal(flat, right).mean()
            + dice(flat, right).mean()
            + 3 * where
            + 0.2 * F.mse_loss(quality.flatten(), iou)
            + 0.1 * F.binary_cross_entropy_with_logits(there, torch.ones_like(there))
        )
        return loss, {kind: float(iou.mean()), "where": float(where.detach())}

    def _where_loss(self, looked: Tensor, truth: Tensor, batch: Views) -> Tensor:
        """On things only the prompt decides which patches are meant, so they weigh most."""
        side = round(looked.shape[-2] ** 0.5)
        meant = F.interpolate(truth, size=(side, side), mode="area").flatten(2)
        anything = F.interpolate(batch.cover.sum(1, keepdim=True).clamp(max=1), size=(side, side), mode="area")
        weight = (0.3 + anything.flatten(2)).expand_as(meant)
        answer = self.where(looked)[..., 0].reshape(meant.shape)
        return (F.binary_cross_entropy_with_logits(answer, meant, reduction="none") * weight).sum() / weight.sum()


def features(model: Sam3VideoModel, patches: Tensor) -> list[Tensor]:
    """The tracker's maps of a picture, finest first, as its mask decoder reads them."""
    side = round(patches.shape[1] ** 0.5)
    levels, _ = model.tracker_neck(patches.view(len(patches), side, side, -1).permute(0, 3, 1, 2))
    decoder = model.tracker_model.mask_decoder
    return [decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]), levels[2]]


def ask(
    truth: Tensor, boxes: Tensor, anything: Tensor, size: int, rng: np.random.Generator
) -> tuple[dict[str, Tensor | None], str]:
    """A prompt for each thing, of one kind for the whole batch, and the kind. Coordinates are pixels of the picture, of
    which a side has `size`; `anything` [N, 1, M, M] is what any thing covers.
    """
    chance = rng.random()
    prompt: dict[str, Tensor | None] = dict.fromkeys(("input_points", "input_labels", "input_boxes", "input_masks"))
    if chance < 0.35:
        wobble = 0.03 * torch.randn_like(boxes) * boxes[..., 2:].repeat(1, 1, 2)
        centre, extent = (boxes + wobble)[..., :2], (boxes + wobble)[..., 2:]
        corners = size * torch.cat([centre - extent / 2, centre + extent / 2], -1).clamp(0, 1)
        if chance < 0.2:
            return prompt | {"input_boxes": corners}, "box"
        labels = torch.tensor([2, 3], dtype=torch.int32).expand(*boxes.shape[:2], 2)  # a box's corners, as video has it
        return prompt | {"input_points": corners.reshape(*boxes.shape[:2], 2, 2), "input_labels": labels}, "box"
    clicks = 1 if chance < 0.75 else CLICKS
    inside = places(truth > 0.6, truth, clicks, rng)
    outside = places((truth < 0.02) & (rng.random() < 0.5) & (anything > 0.5), -truth, clicks, rng)
    labels = torch.ones(*truth.shape[:2], clicks, dtype=torch.int32)
    labels[..., 1:] = torch.from_numpy(rng.integers(0, 2, labels[..., 1:].shape).astype(np.int32))
    points = torch.where(labels[..., None] == 1, inside, outside) * size
    return prompt | {"input_points": points, "input_labels": labels}, "click" if clicks == 1 else "clicks"


def places(allowed: Tensor, otherwise: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Random places, as fractions [N, K, count, 2], where `allowed` [N, K, M, M]; where nothing is, where `otherwise` is
    largest.
    """
    pictures, things, side, _ = allowed.shape
    noise = torch.from_numpy(rng.random((pictures, things, side * side)).astype(np.float32))
    wish = noise + 2 * allowed.flatten(2).float() + otherwise.flatten(2)
    chosen = wish.topk(count, -1).indices
    within = torch.from_numpy(rng.random((pictures, things, count, 2)).astype(np.float32))
    return (torch.stack([chosen % side, chosen // side], -1) + within) / side


def overlap(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of masks [n, M, M] with what is more than half covered."""
    one, other = (logits > 0).flatten(1), (truth > 0.5).flatten(1)
    return (one & other).sum(1) / (one | other).sum(1).clamp(min=1)
