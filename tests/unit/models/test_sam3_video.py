from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from argus_ray import rle
from argus_ray.errors import InvalidRequest
from argus_ray.models import sam3
from argus_ray.models.concepts import Click, Pointed, Prompt
from argus_ray.models.sam3_video import ConceptStream, ObjectStream, Session
from tests import tiny_sam3

SIZE = (36, 64)
PHRASES = [Prompt("red car"), Prompt("blue ball")]


def video(frames: int) -> Iterator[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(3)
    for number in range(frames):
        yield number * 40_000, rng.integers(0, 255, (*SIZE, 3), np.uint8)


def square(top: int, left: int, side: int = 12) -> rle.Rle:
    mask = np.zeros(SIZE, np.bool_)
    mask[top : top + side, left : left + side] = True
    return rle.encode(mask)


@pytest.fixture
def model(tiny_folder: Path) -> sam3.Sam3:
    """New tracks at any score, though two at a time, and lost ones gone after three frames."""
    model = sam3.load(str(tiny_folder), "cpu")
    model.video.new_det_thresh, model.video.max_num_objects, model.video.max_trk_keep_alive = 0.0, 2, 3
    return model


def concepts(model: sam3.Sam3) -> ConceptStream:
    return ConceptStream(model.video, model.device, model.dtype, model.detector_of(PHRASES, 0.0), len(PHRASES))


def stored(thing: object, seen: set[int] | None = None) -> tuple[int, int]:
    """Bytes of tensors and number of entries that a session keeps, whatever holds them."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0, 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        known = storage.data_ptr() in seen
        seen.add(storage.data_ptr())
        return 0 if known else storage.nbytes(), 1
    inside: list[object] = []
    if isinstance(thing, dict):
        inside = [*thing.values()]
    elif isinstance(thing, list | tuple | set):
        inside = [*thing]
    elif type(thing).__module__.startswith(("transformers", "argus_ray")) and not isinstance(thing, torch.nn.Module):
        inside = [*vars(thing).values()]
    parts = [stored(part, seen) for part in inside]
    return sum(size for size, _ in parts), 1 + sum(entries for _, entries in parts)


def test_a_session_of_concepts_stores_no_more_after_300_frames_than_after_60(model):
    stream, sizes, objects = concepts(model), [], set()
    for number, (pts_us, picture) in enumerate(video(300), 1):
        for frame in stream.step(pts_us, model.pixel_values([picture])[0], SIZE):
            objects |= {one.object_id for one in frame.objects}
        if number in {60, 300}:
            sizes.append(stored((stream.session, stream._unseen)))
    (bytes_60, entries_60), (bytes_300, entries_300) = sizes
    assert objects
    assert bytes_60 > 50_000  # so that what is stored has been found
    assert bytes_300 <= 1.05 * bytes_60
    assert entries_300 <= 1.05 * entries_60 + 5


def test_a_session_of_given_objects_stores_no_more_after_300_frames_than_after_60(model):
    stream, sizes = ObjectStream(model.video, model.device, model.dtype, [Pointed(mask=square(4, 4))]), []
    for number, (pts_us, picture) in enumerate(video(300), 1):
        with torch.inference_mode():
            stream.step(pts_us, model.features([picture])[0].tokens, SIZE)
        if number in {60, 300}:
            sizes.append(stored(stream.session))
    assert sizes[0][0] > 50_000
    assert sizes[1] == sizes[0]


def test_what_a_session_forgets_changes_nothing(model, monkeypatch):
    def follow() -> list:
        given = [Pointed(mask=square(4, 4)), Pointed(box=(0.5, 0.5, 0.3, 0.4))]
        return [
            [(one.object_id, one.mask) for one in frame.objects]
            for frame in (*model.track(video(12), concepts=PHRASES), *model.track(video(12), objects=given))
        ]

    forgetful = follow()
    monkeypatch.setattr(Session, "forget", lambda *_: None)
    assert follow() == forgetful
    assert sum(map(len, forgetful)) > 30


def test_answers_come_once_a_frame_in_order_and_name_their_method(model):
    frames = list(model.track(video(6), concepts=PHRASES))
    assert [frame.pts_us for frame in frames] == [pts_us for pts_us, _ in video(6)]
    assert {frame.method for frame in frames} == {"sam3-video"}
    for frame in frames:
        assert len(frame.presence) == 2
        for one in frame.objects:
            assert one.prompt in {0, 1}
            assert one.mask.size == SIZE
            x, y, width, height = one.box
            assert 0 <= x < x + width <= 1
            assert 0 <= y < y + height <= 1


def test_answers_wait_for_what_may_still_be_taken_back(model):
    model.video.hotstart_delay, model.video.hotstart_unmatch_thresh, model.video.hotstart_dup_thresh = 4, 9, 9
    stream = concepts(model)
    came = [stream.step(pts_us, model.pixel_values([picture])[0], SIZE) for pts_us, picture in video(3)]
    assert came == [[], [], []]
    [first] = stream._held[0].objects[:1]
    stream.session.unmatched_frame_inds[first.object_id] = [*range(9)]  # the detector has denied it too often
    [fourth] = [next(video(1))]
    stream.step(fourth[0], model.pixel_values([fourth[1]])[0], SIZE)
    frames = stream.rest()
    assert len(frames) == 4
    assert all(one.object_id != first.object_id for frame in frames for one in frame.objects)
    assert first.object_id not in stream.session.obj_ids


def test_objects_that_were_given_keep_their_places_as_ids(model):
    given = [Pointed(mask=square(4, 4)), Pointed((Click(0.7, 0.7),)), Pointed(box=(0.1, 0.5, 0.3, 0.4))]
    first, *rest = model.track(video(5), objects=given)
    shown = {one.object_id: one for one in first.objects}
    assert set(shown) == {0, 1, 2}
    assert rle.iou([shown[0].mask], [square(4, 4)])[0, 0] > 0.5  # as given, through the model's coarse grid
    assert all({one.object_id for one in frame.objects} <= {0, 1, 2} for frame in rest)


def test_no_pixel_belongs_to_two_objects_of_one_phrase(model):
    for frame in model.track(video(6), concepts=PHRASES):
        for prompt in (0, 1):
            masks = [rle.decode(one.mask) for one in frame.objects if one.prompt == prompt]
            assert not masks or np.sum(masks, axis=0).max() <= 1


def test_a_question_about_a_video_is_a_phrase_or_objects_of_the_first_frame(model):
    for wrong in (
        {},
        {"concepts": PHRASES, "objects": [Pointed((Click(0.5, 0.5),))]},
        {"concepts": [Prompt(boxes=((0.1, 0.1, 0.2, 0.2),))]},
    ):
        with pytest.raises(InvalidRequest):
            model.track(video(1), **wrong)
    with pytest.raises(InvalidRequest, match="size is 8 x 8"):
        list(model.track(video(1), objects=[Pointed(mask=rle.encode(np.ones((8, 8), bool)))]))


@pytest.mark.parametrize("tracker", ["untrained", "pictures"])
def test_where_the_tracker_has_not_learnt_to_follow_detection_stands_in_and_is_named(tmp_path, tracker):
    model = sam3.load(str(tiny_sam3.write(tmp_path, tracker=tracker)), "cpu")
    given = [
        Pointed(mask=square(4, 4)),
        Pointed((Click(0.7, 0.7),), phrase="red car"),
        Pointed(box=(0.1, 0.5, 0.3, 0.4)),
    ]
    for frames in (list(model.track(video(4), concepts=PHRASES)), list(model.track(video(4), objects=given))):
        assert [frame.pts_us for frame in frames] == [0, 40_000, 80_000, 120_000]
        assert {frame.method for frame in frames} == {"track-by-detection"}
        assert frames[0].objects
        assert all(one.mask.size == SIZE for frame in frames for one in frame.objects)


def test_frames_may_run_backwards(model):
    backwards = list(video(5))[::-1]
    frames = list(model.track(backwards, objects=[Pointed(mask=square(4, 4))]))
    assert [frame.pts_us for frame in frames] == [160_000, 120_000, 80_000, 40_000, 0]
