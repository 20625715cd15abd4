"""SAM 3's tracker on one picture: what is pointed at, by clicks, a box, or the mask that it made before.

The tracker has no eyes of its own: it makes its pyramid from the tokens of the vision transformer that the detector has
used. (Upstream's class for this, `Sam3TrackerModel`, has a second one, loads a checkpoint's weights only with a mapping of
their names, and adds the embedding for "nothing remembered" to a level that it then leaves out.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from argus_ray.models.concepts import Pointed, Segmented, check_mask
from argus_ray.models.sam3_masks import encoded, logits_of
from argus_ray.rle import Size

_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # labels of a box's corners, beside 1 and 0 of clicks
_NOTHING = -1  # the label of a point that says nothing


def segment(video: Any, tokens: Tensor, objects: Sequence[Pointed], *, size: Size, most_rows: int) -> list[Segmented]:
    """Masks, at `size`, of the objects pointed at in the picture of these `tokens` [1, G x G, D].

    Raises InvalidRequest for a mask of another size. Objects with as many points go together: a padded point would
    change the answer.
    """
    for thing in objects:
        if thing.mask is not None:
            check_mask(thing.mask, size)
    embeddings = _embeddings(video, tokens)
    together: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    points = [points_of(thing, video.tracker_model.image_size) for thing in objects]
    for row, (thing, (_, labels)) in enumerate(zip(objects, points, strict=True)):
        many = _may_mean_several(video.tracker_model.config, labels, thing)
        together[labels.shape[-1], thing.mask is not None, many].append(row)
    answers: list[Segmented | None] = [None] * len(objects)
    for (_, with_mask, many), rows in together.items():
        for first in range(0, len(rows), most_rows):
            some = rows[first : first + most_rows]
            side = video.tracker_model.prompt_encoder.mask_input_size[0]
            given = [objects[row].mask for row in some]
            masks = torch.cat([logits_of(mask, side) for mask in given if mask is not None]) if with_mask else None
            coordinates, labels = (torch.cat([points[row][part] for row in some]) for part in (0, 1))
            logits, ious, presence = _decoded(video.tracker_model, embeddings, coordinates, labels, masks, several=many)
            for place, row in enumerate(some):
                order = ious[place].argsort(descending=True)
                answers[row] = Segmented(
                    masks=encoded(logits[place, order], size),
                    ious=ious[place, order].tolist(),
                    presence=float(presence[place]),
                )
    return [answer for answer in answers if answer is not None]


def pyramid(video: Any, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The tracker's feature maps of a picture and their positions, each [side x side, 1, C], the finest first."""
    maps, positions = video.get_vision_features_for_tracker(Sam3VisionEncoderOutput(last_hidden_state=tokens))
    return maps, positions


def points_of(thing: Pointed, side: int) -> tuple[Tensor, Tensor]:
    """Clicks and box as the model reads them: pixels of its square, float32 [1, 1, n, 2], and labels, int32 [1, 1, n]."""
    at: list[tuple[float, float]] = []
    labels: list[int] = []
    if thing.box is not None:
        x, y, width, height = thing.box
        at += [(x, y), (x + width, y + height)]
        labels += [_TOP_LEFT, _BOTTOM_RIGHT]
    at += [(click.x, click.y) for click in thing.clicks]
    labels += [int(click.positive) for click in thing.clicks]
    if not at:
        at, labels = [(0, 0)], [_NOTHING]
    return torch.tensor(at)[None, None] * side, torch.tensor(labels, dtype=torch.int32)[None, None]


def _may_mean_several(config: Any, labels: Tensor, thing: Pointed) -> bool:
    """Whether the model has learnt to give several masks for so few points: one click on a shirt may mean the person."""
    few = config.multimask_min_pt_num <= labels.shape[-1] <= config.multimask_max_pt_num
    return bool(config.multimask_output_in_sam and few and thing.mask is None)


def _embeddings(video: Any, tokens: Tensor) -> list[Tensor]:
    maps, _ = pyramid(video, tokens)
    tracker = video.tracker_model
    maps[-1] = maps[-1] + tracker.no_memory_embedding
    return [
        level.permute(1, 2, 0).view(1, -1, *sides)
        for level, sides in zip(maps, tracker.backbone_feature_sizes, strict=True)
    ]


def _decoded(
    tracker: Any, embeddings: Sequence[Tensor], points: Tensor, labels: Tensor, masks: Tensor | None, *, several: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """N objects -> mask logits [N, k, side, side], IoUs guessed float32 [N, k], presence float32 [N]."""
    device, dtype, rows = embeddings[-1].device, embeddings[-1].dtype, len(points)
    sparse, dense = tracker.prompt_encoder(
        input_points=points.to(device),
        input_labels=labels.to(device),
        input_boxes=None,
        input_masks=None if masks is None else masks.to(device, dtype),
    )
    logits, ious, _, score = tracker.mask_decoder(
        image_embeddings=embeddings[-1].expand(rows, -1, -1, -1),
        image_positional_embeddings=tracker.get_image_wide_positional_embeddings().expand(rows, -1, -1, -1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=several,
        high_resolution_features=[level.expand(rows, -1, -1, -1) for level in embeddings[:-1]],
    )
    return logits[:, 0], ious[:, 0].float(), score[:, 0, 0].float().sigmoid()
