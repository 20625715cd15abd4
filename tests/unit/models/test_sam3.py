import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoTokenizer, Sam3Model, Sam3TrackerModel, Sam3TrackerVideoModel

from argus_ray import rle
from argus_ray.errors import InvalidRequest, ModelUnavailable, ModelUnsupported
from argus_ray.models import sam3
from argus_ray.models.concepts import MOST_IOU, Click, Pointed, Prompt
from argus_ray.models.loading import load_whole
from argus_ray.models.sam3_masks import distinct, encoded
from argus_ray.synthetic.scene import random_scene, render
from tests import tiny_sam3

BOX, OTHER_BOX = (0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.25, 0.3)
PROMPTS = [
    Prompt("red car"),
    Prompt("a blue ball on grass"),
    Prompt(boxes=(BOX,)),
    Prompt("dog", boxes=(BOX,), negative=(OTHER_BOX,)),
    Prompt("tree"),
    Prompt(boxes=(OTHER_BOX,)),
]


def pictures(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [render(random_scene(rng), width, height, 16 / 9).rgb for _ in range(count)]


def same(one: sam3.Found, other: sam3.Found) -> bool:
    return (
        len(one.masks) == len(other.masks)
        and np.allclose(one.scores, other.scores, atol=1e-5)
        and np.allclose(one.boxes, other.boxes, atol=1e-5)
        and one.presence == pytest.approx(other.presence, abs=1e-5)
        and (np.diagonal(rle.iou(one.masks, other.masks)) > 0.99).all()  # a pixel at the edge may go either way
    )


def changed(folder: Path, change) -> Path:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def test_one_folder_serves_every_class_of_the_family(tiny_folder):
    for model_class, options in (
        (Sam3Model, {}),
        (Sam3TrackerVideoModel, {}),
        (Sam3TrackerModel, {"key_mapping": {r"^tracker_model\.": ""}}),  # or its decoder stays random
    ):
        load_whole(model_class, tiny_folder, **options)


def test_what_is_found_is_what_the_library_itself_finds(tiny, tiny_folder):
    upstream = load_whole(Sam3Model, tiny_folder, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(tiny_folder)(
        "red car", padding="max_length", max_length=32, return_tensors="pt"
    )
    [picture] = pictures(1)
    x, y, width, height = BOX
    for prompt, boxes in (
        (Prompt("red car"), {}),
        (
            Prompt("red car", boxes=(BOX,)),
            {
                "input_boxes": torch.tensor([[[x + width / 2, y + height / 2, width, height]]]),
                "input_boxes_labels": torch.tensor([[1]]),
            },
        ),
    ):
        with torch.inference_mode():
            out = upstream(pixel_values=tiny.pixel_values([picture]), **words, **boxes)
        [found] = tiny.find(tiny.features([picture])[0], [prompt], size=(16, 16))
        scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        order = scores.argsort(descending=True)
        order = order[distinct(out.pred_masks[0, order] > 0, MOST_IOU)]
        corners = out.pred_boxes[0, order].clamp(0, 1)
        assert len(found.masks) > 0
        assert found.presence == pytest.approx(float(out.presence_logits.sigmoid()), abs=1e-5)
        assert found.scores == pytest.approx(scores[order].numpy(), abs=1e-5)
        assert found.boxes[:, :2] + found.boxes[:, 2:] == pytest.approx(corners[:, 2:].numpy(), abs=1e-5)
        assert (np.diagonal(rle.iou(found.masks, encoded(out.pred_masks[0, order], (16, 16)))) > 0.98).all()


def test_many_prompts_together_find_what_each_finds_alone(tiny):
    [features] = tiny.features(pictures(1))
    together = tiny.find(features, PROMPTS)
    alone = [tiny.find(features, [prompt])[0] for prompt in PROMPTS]
    assert all(map(same, together, alone))
    assert not same(together[0], together[1])  # so that the phrase matters


def test_prompts_of_several_pictures_share_a_pass(tiny):
    seen = tiny.features(pictures(3))
    asked = [(features, prompt) for features in seen for prompt in PROMPTS]
    assert all(map(same, tiny.find_all(asked), [tiny.find(features, [prompt])[0] for features, prompt in asked]))


def test_passes_are_cut_to_the_memory_there_is_and_find_the_same(tiny, monkeypatch):
    [features] = tiny.features(pictures(1))
    whole = tiny.find(features, PROMPTS)
    monkeypatch.setattr(tiny, "_most_rows", 2)
    monkeypatch.setattr(tiny, "_most_outlined", 1)
    assert all(map(same, tiny.find(features, PROMPTS), whole))


def test_features_kept_are_as_good_as_features_made_again(tiny):
    shown = pictures(5)
    kept = tiny.features(shown)
    again = [tiny.features([picture])[0] for picture in shown]
    for one, other in zip(kept, again, strict=True):
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one.levels, other.levels, strict=True))
        # what is kept of one picture keeps no other alive
        assert one.size_bytes == sum(level.untyped_storage().nbytes() for level in (*one.levels, one.tokens))
    assert same(tiny.find(kept[3], PROMPTS[:1])[0], tiny.find(again[3], PROMPTS[:1])[0])


def test_pictures_come_in_as_by_the_librarys_processor(tiny, tiny_folder):
    picture = pictures(1, 640, 360)[0].copy()  # the processor wants to write
    expected = AutoImageProcessor.from_pretrained(tiny_folder)(images=[picture], return_tensors="pt")["pixel_values"]
    assert (tiny.pixel_values([picture]) - expected).abs().max() < 0.02


def test_masks_have_the_size_of_the_picture_or_the_one_asked_for(tiny):
    [features] = tiny.features(pictures(1, 120, 50))
    assert {mask.size for mask in tiny.find(features, PROMPTS[:1])[0].masks} == {(50, 120)}
    assert {mask.size for mask in tiny.find(features, PROMPTS[:1], size=(1080, 1920))[0].masks} == {(1080, 1920)}


def test_nothing_scores_above_the_threshold_where_nothing_is_and_presence_is_still_told(tiny):
    [features] = tiny.features(pictures(1))
    [found] = tiny.find(features, PROMPTS[:1], threshold=0.99)
    assert (len(found.scores), found.boxes.shape, found.masks) == (0, (0, 4), [])
    assert 0 < found.presence < 1


def test_of_masks_that_overlap_the_surer_one_is_kept():
    masks = torch.zeros(5, 8, 8, dtype=torch.bool)
    masks[0, :4] = True
    masks[1, :5] = True  # 0.8 of the first
    masks[2, 4:] = True
    masks[3, 2:6] = True  # a third of two of them
    assert distinct(masks, most_iou=0.5) == [0, 2, 3]  # the last one is empty


def test_a_phrase_is_read_once(tiny, monkeypatch):
    [features] = tiny.features(pictures(1))
    before = tiny.find(features, [Prompt("brown horse")])
    monkeypatch.setattr(tiny.detector, "get_text_features", None)
    assert same(tiny.find(features, [Prompt("brown horse")])[0], before[0])


@pytest.mark.parametrize(
    ("phrase", "told"),
    [
        ("", "the phrase is empty"),
        (" \n\t", "the phrase is empty"),
        ("red car " * 20, "has 42 tokens .* and the model reads 32"),
        ("x" * 10_240, "tokens .* and the model reads 32"),
        ("x" * 10_000_000, "has 10000000 characters, and the model reads 32 tokens"),
    ],
)
def test_a_phrase_that_the_model_cannot_read_is_refused_with_what_to_do(tiny, phrase, told):
    for refuse in (tiny.check, lambda prompt: tiny.track([], concepts=[prompt])):
        with pytest.raises(InvalidRequest, match=told):
            refuse(Prompt(phrase))


@pytest.mark.parametrize(
    "bad",
    [
        Prompt,
        lambda: Prompt(negative=(BOX,)),
        lambda: Prompt("car", boxes=((0.5, 0.5, 0.6, 0.1),)),
        lambda: Prompt("car", boxes=((0.5, 0.5, 0.0, 0.1),)),
        lambda: Prompt("car", boxes=((float("nan"), 0.5, 0.1, 0.1),)),
        lambda: Prompt("car", boxes=(BOX,) * 65),
        Pointed,
        lambda: Pointed((Click(1.5, 0.5),)),
        lambda: Pointed((Click(0.5, float("nan")),)),
        lambda: Pointed((Click(0.5, 0.5),) * 257),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(bad):
    with pytest.raises(InvalidRequest):
        bad()


# -- clicks --------------------------------------------------------------------------------------

POINTED = [
    Pointed((Click(0.5, 0.5),)),
    Pointed(box=BOX),
    Pointed((Click(0.5, 0.5), Click(0.1, 0.1, positive=False)), box=OTHER_BOX),
    Pointed((Click(0.2, 0.6),)),
]


def test_clicks_and_boxes_give_what_the_librarys_tracker_gives(tiny, tiny_folder):
    upstream = load_whole(
        Sam3TrackerModel, tiny_folder, dtype=torch.float32, key_mapping={r"^tracker_model\.": ""}
    ).eval()
    [picture] = pictures(1)
    with torch.inference_mode():
        seen = upstream.get_image_embeddings(tiny.pixel_values([picture]))
        seen[-1] = seen[-1] + upstream.no_memory_embedding.view(1, -1, 1, 1)  # the library adds it to a level it drops
        side = tiny.image_size
        clicked = upstream(
            image_embeddings=seen,
            input_points=torch.tensor([[[[0.5, 0.5]], [[0.2, 0.6]]]]) * side,
            input_labels=torch.ones(1, 2, 1, dtype=torch.int32),
            multimask_output=False,
        )
        boxed = upstream(
            image_embeddings=seen, input_boxes=torch.tensor([[[0.1, 0.2, 0.4, 0.6]]]) * side, multimask_output=False
        )
    [features] = tiny.features([picture])
    first, box, _, second = tiny.segment(features, POINTED, size=(16, 16))
    expected = [*clicked.iou_scores.flatten().tolist(), *boxed.iou_scores.flatten().tolist()]
    assert [first.ious[0], second.ious[0], box.ious[0]] == pytest.approx(expected, abs=1e-4)
    masks = encoded(torch.cat([clicked.pred_masks[0, :, 0], boxed.pred_masks[0, :, 0]]), (16, 16))
    assert (np.diagonal(rle.iou([first.masks[0], second.masks[0], box.masks[0]], masks)) > 0.98).all()


def test_objects_pointed_at_together_get_what_each_gets_alone(tiny):
    [features] = tiny.features(pictures(1))
    together = tiny.segment(features, POINTED)
    alone = [tiny.segment(features, [thing])[0] for thing in POINTED]
    assert [one.ious for one in together] == [pytest.approx(one.ious, abs=1e-5) for one in alone]
    assert (np.diagonal(rle.iou([one.masks[0] for one in together], [one.masks[0] for one in alone])) > 0.99).all()


def test_one_click_may_mean_several_things_where_the_model_has_learnt_it(tiny, monkeypatch):
    [features] = tiny.features(pictures(1))
    assert len(tiny.segment(features, POINTED[:1])[0].masks) == 1
    monkeypatch.setattr(tiny.video.tracker_model.config, "multimask_output_in_sam", True)
    click, box, *_ = tiny.segment(features, POINTED)
    assert len(click.masks) == len(click.ious) == 3
    assert click.ious == sorted(click.ious, reverse=True)
    assert len(box.masks) == 1


def test_a_mask_of_before_changes_the_next_and_must_be_of_this_picture(tiny):
    [features] = tiny.features(pictures(1))
    [before] = tiny.segment(features, POINTED[:1])
    [after] = tiny.segment(features, [Pointed(POINTED[0].clicks, mask=before.masks[0])])
    assert after.ious != before.ious
    with pytest.raises(InvalidRequest, match="size is 32 x 32"):
        tiny.segment(features, [Pointed(mask=rle.encode(np.ones((32, 32), bool)))])
    with pytest.raises(InvalidRequest, match="empty"):
        tiny.segment(features, [Pointed(mask=rle.encode(np.zeros((64, 96), bool)))])


def test_weights_without_a_trained_tracker_say_so_when_clicked(tmp_path):
    model = sam3.load(str(tiny_sam3.write(tmp_path, tracker="untrained")), "cpu")
    assert (model.tracker, model.has_video_tracker) == ("untrained", False)
    [features] = model.features(pictures(1))
    assert len(model.find(features, PROMPTS[:1])[0].masks) > 0
    with pytest.raises(ModelUnsupported, match="tracker has not been trained: ask by a phrase"):
        model.segment(features, POINTED)


# -- loading -------------------------------------------------------------------------------------


def test_a_model_says_what_it_is(tiny, tiny_folder):
    assert tiny.image_size == 56
    assert len(tiny.weights_id) == 16
    assert (tiny.tracker, tiny.has_video_tracker, tiny.score_threshold) == ("video", True, 0.0)
    assert tiny.dtype == torch.float32  # on a CPU
    alone = sam3.load(str(tiny_folder), "cpu", parts=("concepts",))
    assert alone.weights_id == tiny.weights_id
    assert not alone.has_video_tracker


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("concepts",), "dot_product_scoring.text_proj.weight"),
        (("concepts", "clicks"), "dot_product_scoring.text_proj.weight"),
        (("clicks",), "no_memory_embedding"),
        (("video",), "tracker_neck.fpn_layers.0.proj1.weight"),
    ],
)
def test_weights_that_leave_a_part_random_are_refused(tmp_path, parts, name):
    folder = changed(
        tiny_sam3.write(tmp_path), lambda tensors: tensors.pop(next(key for key in tensors if key.endswith(name)))
    )
    with pytest.raises(ModelUnavailable, match="missing keys"):
        sam3.load(str(folder), "cpu", parts=parts)


@pytest.mark.parametrize("parts", [("concepts",), ("concepts", "clicks", "video")])
def test_weights_that_fit_no_part_are_refused(tmp_path, parts):
    folder = changed(tiny_sam3.write(tmp_path), lambda tensors: tensors.update(adapter=torch.zeros(1)))
    with pytest.raises(ModelUnavailable, match="unexpected keys: adapter"):
        sam3.load(str(folder), "cpu", parts=parts)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(
        ModelUnsupported, match=r"'siglip' and not a SAM 3 checkpoint: choose one such as facebook/sam3"
    ):
        sam3.load("demo:siglip2")


def test_facts_that_cannot_be_read_are_refused(tmp_path):
    folder = tiny_sam3.write(tmp_path, tracker="half")
    with pytest.raises(ModelUnavailable, match="calls the tracker 'half'"):
        sam3.load(str(folder), "cpu")
    (folder / "argus.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="not JSON"):
        sam3.load(str(folder), "cpu")


def test_weights_from_elsewhere_have_learnt_everything(tmp_path):
    folder = tiny_sam3.write(tmp_path)
    (folder / "argus.json").unlink()
    model = sam3.load(str(folder), "cpu")
    assert (model.has_video_tracker, model.score_threshold) == (True, 0.5)


def test_a_detector_alone_is_a_model_without_a_tracker(tmp_path, tiny_folder):
    folder = tiny_sam3.write(tmp_path / "whole")
    alone = tmp_path / "alone"
    load_whole(Sam3Model, folder).save_pretrained(alone)
    for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (alone / file).write_bytes((folder / file).read_bytes())
    assert json.loads((alone / "config.json").read_text())["model_type"] == "sam3"
    model = sam3.load(str(alone), "cpu")
    assert (model.tracker, model.has_video_tracker) == ("none", False)
    assert len(model.find(model.features(pictures(1))[0], PROMPTS[:1], threshold=0)[0].masks) > 0


def test_numbers_that_overflow_are_an_error_and_not_an_answer(tmp_path):
    broken = sam3.load(str(tiny_sam3.write(tmp_path)), "cpu", parts=("concepts",))
    with torch.no_grad():
        broken.detector.dot_product_scoring.text_proj.weight.fill_(float("inf"))
    with pytest.raises(ModelUnsupported, match="overflow"):
        broken.find(broken.features(pictures(1))[0], PROMPTS[:1])


# -- the weights that ship -----------------------------------------------------------------------


def test_the_demo_weights_find_what_is_named_in_scenes_they_have_not_seen():
    model = sam3.load("demo:sam3", "cpu", parts=("concepts",))
    rng = np.random.default_rng(99)
    hits, told, true, overlaps = 0, 0, 0, []
    for _ in range(20):
        scene = random_scene(rng)
        drawing = render(scene, 320, 180)
        [features] = model.features([drawing.rgb])
        named = {f"{thing.colour} {thing.shape}": [] for thing in scene.things}
        for number, thing in enumerate(scene.things, 1):
            if (drawing.ids == number).any():
                named[f"{thing.colour} {thing.shape}"].append(rle.encode(drawing.ids == number))
        for found, truth in zip(model.find(features, [Prompt(name) for name in named]), named.values(), strict=True):
            best = rle.iou(truth, found.masks).max(axis=1, initial=0)
            hits += int((best > 0.5).sum())
            overlaps += best[best > 0.5].tolist()
            told, true = told + len(found.masks), true + len(truth)
    assert 2 * hits / (told + true) > 0.5
    assert np.mean(overlaps) > 0.7
