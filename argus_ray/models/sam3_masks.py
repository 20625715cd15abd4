"""Mask logits, as SAM 3 gives them, into what leaves: nothing twice, and run lengths instead of pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from argus_ray.rle import Rle, Size, decode, encode_many

_AT_ONCE_PIXELS = 1 << 25
_SURE = 10.0
"""A logit that leaves no doubt; the model makes them itself of masks that are given."""


def distinct(masks: Tensor, most_iou: float) -> list[int]:
    """Non-maximum suppression of masks, bool [n, H, W], the surest first: who is kept. One that overlaps a surer one by
    more than `most_iou`, intersection over union, is the same thing seen twice; an empty one is nothing.
    """
    flat = masks.flatten(1).float()
    common = (flat @ flat.T).cpu()
    area = common.diagonal()
    overlaps = common / (area[:, None] + area[None] - common).clamp(min=1) > most_iou
    kept: list[int] = []
    for one in range(len(masks)):
        if area[one] > 0 and not overlaps[one, kept].any():
            kept.append(one)
    return kept


def encoded(logits: Tensor, size: Size) -> list[Rle]:
    """Mask logits [N, h, w] -> run lengths at `size` (height, width), by bilinear interpolation."""
    step = max(1, _AT_ONCE_PIXELS // (size[0] * size[1]))
    masks: list[Rle] = []
    for first in range(0, len(logits), step):
        few = logits[None, first : first + step]
        larger = F.interpolate(few.float(), size=size, mode="bilinear", align_corners=False)[0] > 0
        masks += encode_many(larger.cpu().numpy())
    return masks


def logits_of(mask: Rle, side: int) -> Tensor:
    """A mask as the model takes one that it made before: logits float32 [1, 1, side, side]."""
    pixels = torch.from_numpy(decode(mask))[None, None].float()
    square = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return square * 2 * _SURE - _SURE
