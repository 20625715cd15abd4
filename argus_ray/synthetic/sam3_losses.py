"""What the parts of SAM 3 are told while they learn the drawn world.

Shapes: N pictures, P prompts, K things, Q queries, G patches a side, M mask pixels a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from argus_ray.synthetic.sam3_scenes import COLOUR_NAMES, NOTHING, SHAPE_NAMES, Concept, Views

_ANSWERS = (1, len(SHAPE_NAMES), len(COLOUR_NAMES), 4)  # a thing at all, its shape, its colour, its box


class Eyes(nn.Module):
    """What is here, asked of every place of a feature map: a thing or not, its shape, its colour, where its box ends."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, sum(_ANSWERS))
        )

    def loss(self, features_NHWC: Tensor, batch: Views) -> tuple[Tensor, dict[str, float]]:  # noqa: N803
        """A place shows the thing that covers most of it, if that is more than 0.3 of it."""
        side = features_NHWC.shape[1]
        cover = F.interpolate(batch.cover, size=(side, side), mode="area")
        share, thing = cover.max(1)
        seen = share > 0.3
        here, shapes, colours, ends = self.layers(features_NHWC).split(_ANSWERS, -1)
        rows = torch.arange(len(thing))[:, None, None].expand_as(thing)[seen]
        things = thing[seen]
        shape, colour, box = batch.shapes[rows, things], batch.colours[rows, things], batch.boxes[rows, things]
        centre = (torch.arange(side) + 0.5) / side
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        at = torch.stack([x, y], -1).expand(len(thing), -1, -1, -1)[seen]
        distances = torch.cat([at - box[:, :2] + box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2 - at], -1)
        named = colour != NOTHING
        loss = (
            2 * F.binary_cross_entropy_with_logits(here[..., 0], seen.float())
            + F.cross_entropy(shapes[seen], shape)
            + 0.5 * F.cross_entropy(colours[seen][named], colour[named])
            + 3 * F.l1_loss(ends[seen] / 4, distances)
        )
        told = {
            "shape": float((shapes[seen].argmax(-1) == shape).float().mean()),
            "colour": float((colours[seen][named].argmax(-1) == colour[named]).float().mean()),
            "ends": float(F.l1_loss(ends[seen].detach() / 4, distances)),
        }
        return loss, told


class Words(nn.Module):
    """Which colour and which shape a phrase names, or none of either."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.colour = nn.Linear(width, len(COLOUR_NAMES) + 1)
        self.shape = nn.Linear(width, len(SHAPE_NAMES) + 1)

    def loss(self, text_PTD: Tensor, mask_PT: Tensor, concepts: list[Concept]) -> Tensor:  # noqa: N803
        pooled = (text_PTD * mask_PT[..., None]).sum(1) / mask_PT.sum(1, keepdim=True)
        colour = torch.tensor([len(COLOUR_NAMES) if it.colour is None else it.colour for it in concepts])
        shape = torch.tensor([len(SHAPE_NAMES) if it.shape is None else it.shape for it in concepts])
        return F.cross_entropy(self.colour(pooled), colour) + F.cross_entropy(self.shape(pooled), shape)


@dataclass(frozen=True)
class Asked:
    """What P prompts ask for, with room for K things each."""

    boxes: Tensor  # float [P, K, 4] centre, width, height
    wanted: Tensor  # bool [P, K]
    cover: Tensor  # float [P, K, M, M]
    anything: Tensor  # float [P, M, M]: how much of a pixel any thing covers, asked for or not

    @property
    def present(self) -> Tensor:
        return self.wanted.any(1).float()

    @property
    def area(self) -> Tensor:
        """How much of a pixel is part of what is asked for, [P, M, M]."""
        return (self.cover * self.wanted[..., None, None]).sum(1).clamp(max=1)


@dataclass(frozen=True)
class Found:
    """What the model answers; L is the decoder's layers. Masks were made for some prompts only: those in `rows`."""

    encoded: list[Tensor]  # each [P, G * G, D]: the encoder's layers
    scores: Tensor  # [L, P, Q]
    boxes: Tensor  # [L, P, Q, 4] centre, width, height
    presence: Tensor  # [L, P]
    rows: Tensor  # [R]
    masks: Tensor  # [R, Q, M, M]
    semantic: Tensor  # [R, M, M]


def where_loss(heads: nn.ModuleList, found: Found, asked: Asked) -> tuple[Tensor, float]:
    """Is this patch part of what is asked for? Asked of each layer of the encoder; answers the share of patches on things
    that the last layer gets right.

    On things only the phrase decides, so they weigh most. It is this loss that makes the model listen to the phrase.
    """
    side = round(found.encoded[0].shape[1] ** 0.5)

    def shrunk(maps: Tensor) -> Tensor:
        return F.interpolate(maps[:, None], size=(side, side), mode="area").flatten(1)

    truth, anything = shrunk(asked.area), shrunk(asked.anything)
    weight = 0.3 + anything
    loss, right = torch.zeros(()), 0.0
    for head, encoded in zip(heads, found.encoded, strict=True):
        answer = head(encoded.float())[..., 0]
        loss = (
            loss + (F.binary_cross_entropy_with_logits(answer, truth, reduction="none") * weight).sum() / weight.sum()
        )
        right = float(((answer > 0) == (truth > 0.5))[anything > 0.5].float().mean())
    return loss, right


def corners(boxes: Tensor) -> Tensor:
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


@torch.no_grad()
def match(scores_PQ: Tensor, boxes_PQ4: Tensor, asked: Asked, many: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    """The cheapest assignment of queries to wanted things, each thing `many` times: prompts, queries and things."""
    confidence = scores_PQ.sigmoid()
    false = -0.75 * confidence**2 * (1 - confidence + 1e-8).log()
    true = -0.25 * (1 - confidence) ** 2 * (confidence + 1e-8).log()
    distance = torch.cdist(boxes_PQ4, asked.boxes, p=1)
    prompts, queries = scores_PQ.shape
    overlap = box_overlap(boxes_PQ4[:, :, None], asked.boxes[:, None])
    cost = (2 * (true - false)[..., None] + 5 * distance - 2 * overlap).numpy()
    wanted = asked.wanted.numpy()
    found: list[tuple[int, int, int]] = []
    for prompt in range(prompts):
        things = np.flatnonzero(wanted[prompt])
        if things.size:
            columns = np.tile(things, min(many, queries // things.size))
            rows, chosen = linear_sum_assignment(np.nan_to_num(cost[prompt][:, columns], nan=1e3))
            found += [(prompt, int(row), int(columns[column])) for row, column in zip(rows, chosen, strict=True)]
    table = torch.tensor(found, dtype=torch.long).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def box_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Generalised intersection over union (arXiv 1902.09630) of boxes given by centre, width and height."""
    a, b = corners(one), corners(other)
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - inner
    return inner / (union + 1e-6) - (outer - union) / (outer + 1e-6)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    chance, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    return 1 - (2 * (chance * truth).sum(1) + 1) / (chance.sum(1) + truth.sum(1) + 1)


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    chance = logits.sigmoid()
    miss = chance * (1 - truth) + (1 - chance) * truth
    return 0.5 * miss**2 * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def find_loss(found: Found, asked: Asked) -> tuple[Tensor, dict[str, float]]:
    """DETR's loss at every layer of the decoder (score, box, presence), and the masks of the last.

    In all layers but the last three queries may find the same thing, which gives three times as much to learn from.
    Queries that match nothing are focal, those that match are not: with both focal, true scores settle far below 0.5.
    """
    layers = len(found.scores)
    total, told = torch.zeros(()), {}
    present = asked.present
    prompt = query = thing = torch.zeros(0, dtype=torch.long)
    for layer in range(layers):
        scores, boxes = found.scores[layer], found.boxes[layer]
        prompt, query, thing = match(scores.detach(), boxes.detach(), asked, 1 if layer == layers - 1 else 3)
        truth = torch.zeros_like(scores)
        truth[prompt, query] = 1
        confidence = scores.sigmoid()
        by_query = -1.5 * truth * F.logsigmoid(scores) - 0.75 * (1 - truth) * confidence**2 * F.logsigmoid(-scores)
        score = by_query.sum() / truth.sum().clamp(min=1)
        presence = F.binary_cross_entropy_with_logits(found.presence[layer], present)
        box, right = boxes[prompt, query], asked.boxes[prompt, thing]
        distance, overlap = (box - right).abs().sum(-1).mean(), (1 - box_overlap(box, right)).mean()
        total = total + 2 * score + presence + 5 * distance + 2 * overlap
        told = {"score": float(score.detach()), "presence": float(presence.detach()), "box": float(distance.detach())}
    place = torch.full((len(present),), -1)
    place[found.rows] = torch.arange(len(found.rows))
    made = place[prompt] >= 0
    masks = found.masks[place[prompt[made]], query[made]]
    truth = asked.cover[prompt[made], thing[made]]
    area = asked.area[found.rows]
    mask = 20 * focal(masks, truth).mean() + dice(masks, truth).mean()
    by_prompt = dice(found.semantic, area) * present[found.rows]
    semantic = 4 * F.binary_cross_entropy_with_logits(found.semantic, area) + by_prompt.sum() / present[
        found.rows
    ].sum().clamp(min=1)
    told |= {"mask": float(mask.detach()), "semantic": float(semantic.detach())}
    return (total + 2 * mask + semantic), told
