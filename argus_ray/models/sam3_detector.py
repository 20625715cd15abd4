"""One pass of SAM 3's detector in two halves: who is there, then masks for those alone.

`Sam3Model.forward` makes a mask for every query of every prompt, which costs as much as all the rest; of twenty prompts
most find nothing. So its parts are called one by one, in its order, and the mask decoder sees only the rows with a hit
and the queries above the threshold. The numbers are the same (a test compares them).

Shapes: B rows (a picture with a prompt), Q queries, C the width, G the side of the grid of patches; masks are 4G x 4G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from argus_ray.errors import ModelUnsupported
from argus_ray.models.sam3_masks import distinct


@dataclass(frozen=True)
class Asked:
    """Rows that go through in one pass."""

    levels: tuple[Tensor, ...]
    """Of each row's picture, [B, C, side, side] with sides 4G, 2G and G; their rows may be one expanded."""
    positions: tuple[Tensor, ...]
    """The same sides, [1, C, side, side]."""
    text: Tensor
    """[B, L, C]"""
    text_mask: Tensor
    """bool [B, L], False where it is padded"""
    boxes: Tensor | None = None
    """[B, n, 4] centre and size, in fractions"""
    box_labels: Tensor | None = None
    """int64 [B, n]: 1 an example, 0 none of it, -10 padding"""


@dataclass(frozen=True)
class Detected:
    """The instances of one row, the surest first and none twice: `scores` [n], `boxes` [n, 4] as corners, mask `logits`
    [n, 4G, 4G]; `presence` is a number.
    """

    scores: Tensor
    boxes: Tensor
    logits: Tensor
    presence: float


@dataclass(frozen=True)
class Seen:
    """Who is there: `scores` float32 [B, Q] with presence in them, `presence` float32 [B], `boxes` float32 [B, Q, 4] as
    corners, and what the second half needs.
    """

    scores: Tensor
    presence: Tensor
    boxes: Tensor
    queries: Tensor
    encoded: Tensor
    prompt: Tensor
    prompt_mask: Tensor


def detect(
    detector: Any, asked: Asked, *, floors: Sequence[float], most_iou: float, most_outlined: int
) -> list[Detected]:
    """Both halves: what scores above its floor in each row. Masks are made for `most_outlined` rows at a time.

    Raises ModelUnsupported where the numbers overflow.
    """
    seen = look(detector, asked)
    if not bool(seen.scores.isfinite().all()):
        raise ModelUnsupported(
            f"the model's numbers overflow in {seen.queries.dtype} on {seen.queries.device}: run it on a device with "
            "bfloat16, or on the CPU"
        )
    scores, order = seen.scores.sort(dim=1, descending=True)
    hits = (scores > torch.tensor(floors, device=scores.device)[:, None]).sum(dim=1).tolist()
    busy = [row for row, count in enumerate(hits) if count]
    masks: dict[int, Tensor] = {}
    for first in range(0, len(busy), most_outlined):
        rows = busy[first : first + most_outlined]
        most = max(hits[row] for row in rows)
        at = torch.tensor(rows, device=order.device)
        logits = outline(detector, asked, seen, at, order[at, :most])
        masks |= {row: logits[place, : hits[row]] for place, row in enumerate(rows)}
    side = asked.levels[0].shape[-1]
    detected = []
    for row, presence in enumerate(seen.presence.tolist()):
        logits = masks.get(row, seen.queries.new_empty(0, side, side))
        kept = distinct(logits > 0, most_iou) if row in masks else []
        queries = order[row, kept]
        detected.append(
            Detected(seen.scores[row, queries], seen.boxes[row, queries].clamp(0, 1), logits[kept], presence)
        )
    return detected


def look(detector: Any, asked: Asked) -> Seen:
    """The first half: prompt, encoder, decoder, scores and boxes."""
    rows = len(asked.text)
    positions = tuple(position.expand(rows, -1, -1, -1) for position in asked.positions)
    prompt, prompt_mask = asked.text, asked.text_mask
    if asked.boxes is not None and asked.box_labels is not None:
        examples = detector.geometry_encoder(
            box_embeddings=asked.boxes,
            box_mask=asked.box_labels != -10,
            box_labels=asked.box_labels.clamp(min=0),
            img_feats=asked.levels,
            img_pos_embeds=positions,
        )
        prompt = torch.cat([prompt, examples.last_hidden_state], dim=1)
        prompt_mask = torch.cat([prompt_mask, examples.attention_mask], dim=1)
    encoded = detector.detr_encoder(
        vision_features=[asked.levels[-1]],
        text_features=prompt,
        vision_pos_embeds=[positions[-1]],
        text_mask=prompt_mask,
    )
    decoded = detector.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=encoded.text_features,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=prompt_mask,
        spatial_shapes=encoded.spatial_shapes,
    )
    queries = decoded.intermediate_hidden_states[-1]
    logits = detector.dot_product_scoring(
        decoder_hidden_states=decoded.intermediate_hidden_states[-1:],
        text_features=encoded.text_features,
        text_mask=prompt_mask,
    )[0].squeeze(-1)
    presence = decoded.presence_logits[-1].float().sigmoid()
    return Seen(
        scores=logits.float().sigmoid() * presence,
        presence=presence.squeeze(-1),
        boxes=_corners(decoded.reference_boxes[-1].float(), detector.detr_decoder.box_head(queries).float()),
        queries=queries,
        encoded=encoded.last_hidden_state,
        prompt=prompt,
        prompt_mask=prompt_mask,
    )


def outline(detector: Any, asked: Asked, seen: Seen, row: Tensor, query: Tensor) -> Tensor:
    """The second half: mask logits [B', k, 4G, 4G] of the rows `row` [B'] and their queries `query` [B', k]."""
    width = seen.queries.shape[-1]
    masks: Tensor = detector.mask_decoder(
        decoder_queries=seen.queries[row].gather(1, query[..., None].expand(-1, -1, width)),
        backbone_features=[level[row] for level in asked.levels],
        encoder_hidden_states=seen.encoded[row],
        prompt_features=seen.prompt[row],
        prompt_mask=seen.prompt_mask[row],
    ).pred_masks
    return masks


def _corners(reference: Tensor, offset: Tensor) -> Tensor:
    """Boxes [..., 4] as corners from the reference (centre and size in fractions) and the head's logits."""
    logit = (reference.clamp(min=1e-3) / (1 - reference).clamp(min=1e-3)).log()  # as the decoder itself refines them
    box = (logit + offset).sigmoid()
    centre, half = box[..., :2], box[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)
