"""SAM 3 through video: concepts by name, or objects that were given, with memory that does not grow with the video.

Upstream's session keeps every frame, every output of every object and a history of scores that it copies on every frame.
Here one keeps what the model can still look at, and lets objects go that have not been seen for long:

    frame ─▶ vision transformer ─▶ detector (all phrases in one pass) ─▶ tracker ─▶ what is followed in this frame
                                                                           ▲ │
                                       the last few memories of each object ┘ └▶ those that are no longer reachable: dropped

A concept that is seen for a moment and never confirmed is no object: as upstream does for whole videos, answers wait for
`hotstart_delay` frames, and what has been taken back meanwhile is left out. (Upstream's own way of removing gives the
others' masks to the wrong objects in that frame: it shortens one of two lists that it then reads in step.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import Sam3VideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from argus_ray.models.concepts import Pointed, Tracked, TrackedFrame, box_of
from argus_ray.models.sam3_clicks import points_of, pyramid
from argus_ray.models.sam3_detector import Detected
from argus_ray.rle import Rle, Size, area, decode, encode_many

MOST_OBJECTS = 64
"""Followed at a time; of more, those found surest are. Each costs a pass of the tracker a frame."""

Detect = Callable[[tuple[Tensor, ...]], list[Detected]]
"""From the levels of the detector's pyramid to the instances of each phrase."""


class VideoModel(Sam3VideoModel):  # type: ignore[misc]  # transformers is untyped
    """Upstream's, but that the detector sees all phrases in one pass and duplicates are removed without a binary from the
    hub.
    """

    def run_detection(self, inference_session: Session, vision_embeds: Any) -> dict[int, dict[str, Tensor]]:
        """By prompt: boxes as corners, mask logits, scores."""
        detected = inference_session.detect(tuple(vision_embeds.fpn_hidden_states[:-1]))
        inference_session.presence = tuple(one.presence for one in detected)
        return {
            prompt: {"bbox": one.boxes, "mask": one.logits, "scores": one.scores} for prompt, one in enumerate(detected)
        }


class Session(Sam3VideoInferenceSession):  # type: ignore[misc]  # transformers is untyped
    """Upstream's, but that it forgets. `frames_seen` counts what the model is told is the length of the video."""

    def __init__(self, device: torch.device, dtype: torch.dtype, detect: Detect | None = None) -> None:
        super().__init__(inference_device=device, inference_state_device=device, dtype=dtype)
        self.frames_seen = 0
        self.presence: tuple[float, ...] = ()
        self.obj_with_new_inputs: list[int] = []
        if detect is not None:
            self.detect = detect

    @property
    def num_frames(self) -> int:
        return self.frames_seen

    def forget(self, now: int, tracker: Any) -> None:
        """Drop what the frames after `now` cannot reach."""
        config = tracker.config
        memories, pointers = now - config.num_maskmem, now - config.max_object_pointers_in_encoder
        for outputs in self.output_dict_per_obj.values():
            given, followed = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            _drop(given, [*sorted(given)[: -config.max_cond_frame_num]])
            _drop(followed, [frame for frame in followed if frame <= min(memories, pointers)])
            for kept in (*given.values(), *followed.values()):
                kept.pop("high_res_masks", None)  # 4 MB each, and read in their own frame only
            for kept in given.values():
                _alone(kept, "maskmem_features", "maskmem_pos_enc")
            for frame, kept in followed.items():
                kept.pop("pred_masks", None)
                if frame <= memories:
                    kept.pop("maskmem_features", None)
                    kept.pop("maskmem_pos_enc", None)
        for by_object in (self.mask_inputs_per_obj, self.point_inputs_per_obj, self.frames_tracked_per_obj):
            for frames in by_object.values():
                _drop(frames, [frame for frame in frames if frame < now])
        for by_frame in (self.obj_id_to_tracker_score_frame_wise, self.suppressed_obj_ids):
            _drop(by_frame, [frame for frame in by_frame if frame < now])
        if self.processed_frames is not None:
            self.processed_frames.clear()

    def let_go(self, object_id: int) -> None:
        """Follow this object no longer."""
        self.remove_object(object_id)
        for facts in (
            self.obj_id_to_score,
            self.obj_id_to_last_occluded,
            self.obj_first_frame_idx,
            self.unmatched_frame_inds,
            self.trk_keep_alive,
        ):
            facts.pop(object_id, None)
        _drop(self.overlap_pair_to_frame_inds, [pair for pair in self.overlap_pair_to_frame_inds if object_id in pair])


def _alone(kept: dict[str, Tensor], *names: str) -> None:
    """Memories are made for all objects at once, as views of one tensor: one that is kept for long would keep them all."""
    for name in names:
        if name in kept and kept[name].untyped_storage().nbytes() > kept[name].nbytes:
            kept[name] = kept[name].clone()


def _drop(kept: dict[Any, Any], keys: Sequence[Any]) -> None:
    for key in keys:
        del kept[key]


class ConceptStream:
    """Concepts by name, frame after frame. `step` gives the answers that are ready, `rest` those still held back."""

    def __init__(
        self, model: VideoModel, device: torch.device, dtype: torch.dtype, detect: Detect, phrases: int
    ) -> None:
        self._model = model
        self.session = Session(device, dtype, detect)
        self.session.prompts = {number: str(number) for number in range(phrases)}
        self._unseen: dict[int, int] = {}
        self._held: deque[TrackedFrame] = deque()

    def step(self, pts_us: int, pixel_values: Tensor, size: Size) -> list[TrackedFrame]:
        """The next frame, as the model sees it [3, S, S]; masks at `size`."""
        session, now = self.session, self.session.frames_seen
        session.frames_seen += 1
        out = self._model(inference_session=session, frame_idx=now, frame=pixel_values)
        shown = _apart(out, session.obj_id_to_prompt_id, size)
        self._held.append(
            TrackedFrame(
                pts_us=pts_us,
                objects=[
                    Tracked(name, session.obj_id_to_prompt_id[name], out.obj_id_to_score[name], box_of(mask), mask)
                    for name, mask in shown.items()
                ],
                presence=session.presence,
                method="sam3-video",
            )
        )
        self._take_back(self._unconfirmed(now))
        for lost in self._lost(set(shown)):
            session.let_go(lost)
        session.forget(now, self._model.tracker_model)
        return [self._held.popleft()] if len(self._held) > self._model.hotstart_delay else []

    def rest(self) -> list[TrackedFrame]:
        held = list(self._held)
        self._held.clear()
        return held

    def _unconfirmed(self, now: int) -> set[int]:
        """Objects of the last `hotstart_delay` frames that the detector did not see again, or that an older one covers."""
        session, model = self.session, self._model
        young = {name for name, first in session.obj_first_frame_idx.items() if first > now - model.hotstart_delay}
        unmatched, covered = session.unmatched_frame_inds, session.overlap_pair_to_frame_inds
        gone = {name for name in young if len(unmatched.get(name, ())) >= model.hotstart_unmatch_thresh}
        gone |= {
            pair[1] for pair, frames in covered.items() if pair[1] in young and len(frames) >= model.hotstart_dup_thresh
        }
        for name in [name for name in unmatched if name not in young]:
            del unmatched[name]  # they are past it, and the lists grow with every frame
        for pair in [pair for pair in covered if pair[1] not in young]:
            del covered[pair]
        return gone

    def _take_back(self, gone: set[int]) -> None:
        if not gone:
            return
        for name in gone:
            self.session.let_go(name)
        self._held = deque(
            replace(frame, objects=[one for one in frame.objects if one.object_id not in gone]) for frame in self._held
        )

    def _lost(self, shown: set[int]) -> list[int]:
        """Objects that have left, or that the detector has denied, for as many frames as upstream keeps one alive."""
        alive = self.session.obj_ids
        self._unseen = {name: 0 if name in shown else self._unseen.get(name, 0) + 1 for name in alive}
        patience, confirmed = self._model.max_trk_keep_alive, self.session.trk_keep_alive
        return [name for name, frames in self._unseen.items() if frames >= patience or confirmed.get(name, 1) <= 0]


class ObjectStream:
    """Objects that were given in the first frame, frame after frame; they are never let go."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype, objects: Sequence[Pointed]) -> None:
        self._model, self._objects = model, objects
        self.session = Session(device, dtype)

    def step(self, pts_us: int, tokens: Tensor, size: Size) -> TrackedFrame:
        """The next frame, as the vision transformer's `tokens` [1, G x G, D]; masks at `size`."""
        session, tracker, now = self.session, self._model.tracker_model, self.session.frames_seen
        session.frames_seen += 1
        maps, positions = pyramid(self._model, tokens)
        session.cache.cache_vision_features(now, {"vision_feats": maps, "vision_pos_embeds": positions})
        if now == 0:
            self._give()
        out = tracker(inference_session=session, frame_idx=now)
        scores = out.object_score_logits.flatten().float().sigmoid().tolist()
        masks = encode_many(_larger(out.pred_masks[:, 0], size).cpu().numpy())
        session.forget(now, tracker)
        return TrackedFrame(
            pts_us=pts_us,
            objects=[
                Tracked(number, number, scores[number], box_of(mask), mask)
                for number, mask in enumerate(masks)
                if area(mask)
            ],
            presence=(1.0,) * len(self._objects),
            method="sam3-video",
        )

    def _give(self) -> None:
        session, side = self.session, self._model.tracker_model.image_size
        for number, thing in enumerate(self._objects):
            index = session.obj_id_to_idx(number)
            if thing.clicks or thing.box is not None:
                coordinates, labels = points_of(thing, side)
                inputs = {"point_coords": coordinates, "point_labels": labels}
                session.point_inputs_per_obj[index][0] = {
                    name: it.to(session.inference_device) for name, it in inputs.items()
                }
            elif thing.mask is not None:
                session.add_mask_inputs(index, 0, torch.from_numpy(decode(thing.mask))[None, None].float())
        session.obj_with_new_inputs = list(range(len(self._objects)))


def _apart(out: Any, prompt_of: dict[int, int], size: Size) -> dict[int, Rle]:
    """Masks by object at `size`, no pixel for two objects of one prompt: it is the one's of whom the tracker is surer."""
    hidden = out.suppressed_obj_ids or set()
    names = [name for name in out.obj_id_to_mask if name not in hidden]
    if not names:
        return {}
    masks: NDArray[np.bool_] = _larger(torch.cat([out.obj_id_to_mask[name] for name in names]), size).cpu().numpy()
    taken: dict[int, NDArray[np.bool_]] = {}
    for place in sorted(range(len(names)), key=lambda place: -out.obj_id_to_tracker_score.get(names[place], 0.0)):
        others = taken.setdefault(prompt_of[names[place]], np.zeros(size, np.bool_))
        masks[place] &= ~others
        others |= masks[place]
    seen = [place for place in range(len(names)) if masks[place].any()]
    return dict(zip([names[place] for place in seen], encode_many(masks[seen]), strict=True))


def _larger(logits: Tensor, size: Size) -> Tensor:
    return F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0] > 0
