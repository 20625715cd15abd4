import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import Sam3TrackerModel, Sam3TrackerVideoModel, Sam3TrackerVideoProcessor, Sam3VideoModel

from argus_ray.synthetic import train_sam3_tracker
from argus_ray.synthetic.evaluate_sam3 import Answer, best_threshold, count, draw_frames, evaluate, without_duplicates
from argus_ray.synthetic.sam3_learner import Phase, Recipe
from argus_ray.synthetic.sam3_losses import Asked, box_overlap, match
from argus_ray.synthetic.sam3_model import Architecture, new_image_model, new_video_model, save, train_clip_tokenizer
from argus_ray.synthetic.sam3_scenes import Concept, ScenePool, concepts, exemplars, phrase
from argus_ray.synthetic.train_sam3 import train
from argus_ray.synthetic.train_sam3_memory import ClipStock, Remembering

SMALL = Architecture(
    image_size=112, vision_width=32, vision_layers=2, encoder_layers=1, decoder_layers=2, text_width=32
)


@pytest.fixture(scope="module")
def pool():
    return ScenePool(SMALL.image_size, SMALL.mask_size, 24, np.random.default_rng(0))


def test_a_training_run_ends_in_a_folder_that_finds_points_and_follows(tmp_path):
    few = Phase(steps=2, pictures=2, learning_rate=1e-3, last_share=0.1, fresh=1)
    recipe = Recipe(
        architecture=SMALL,
        see=few,
        name=few,
        find=few,
        point=few,
        follow=few,
        prompts=2,
        boxes_every=2,
        pool=6,
        clips=2,
        check_frames=1,
    )
    train(recipe, tmp_path)
    scores = evaluate(tmp_path, frames=1)
    assert 0 <= scores["f1"] <= 1
    assert 0 < scores["presence_accuracy"] <= 1
    assert 0 <= scores["click_mask_iou"] <= 1
    assert 0 <= scores["tracked_mask_iou"] <= 1
    _, info = Sam3TrackerModel.from_pretrained(
        tmp_path, key_mapping={r"^tracker_model\.": ""}, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_a_known_word_is_always_the_same_token_and_no_byte_is_unknown():
    tokenizer = train_clip_tokenizer()
    assert tokenizer.get_vocab() == train_clip_tokenizer().get_vocab()
    assert tokenizer.tokenize("the red buses") == ["the</w>", "red</w>", "buses</w>"]
    told = tokenizer("zebra ü 東")["input_ids"]
    assert told.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(told, skip_special_tokens=True).strip() == "zebra ü 東"


def test_clicks_and_pictures_share_one_code_of_places():
    tracker = new_video_model(new_image_model(SMALL, train_clip_tokenizer())).tracker_model
    prompts = tracker.prompt_encoder.shared_embedding.positional_embedding
    assert torch.equal(prompts, tracker.shared_image_embedding.positional_embedding)


def test_half_of_what_is_asked_is_there_and_no_held_out_pair_is_asked_or_drawn(pool):
    rng = np.random.default_rng(1)
    batch = pool.batch(24, fresh=2)
    asked = [(picture, concept) for picture in range(24) for concept in concepts(batch, picture, 8, rng)]
    true = sum(bool(batch.wanted(picture, concept)) for picture, concept in asked)
    assert 0.4 < true / len(asked) < 0.75
    assert not any(concept.held_out for _, concept in asked)
    drawn = zip(pool.colours[pool.colours >= 0].tolist(), pool.shapes[pool.colours >= 0].tolist(), strict=True)
    assert not any(Concept(colour, shape).held_out for colour, shape in drawn)


def test_a_box_shows_everything_of_its_colour_and_shape(pool):
    rng = np.random.default_rng(2)
    batch = pool.batch(24)
    for picture in range(24):
        for concept in concepts(batch, picture, 4, rng):
            shown = exemplars(batch, picture, concept, rng)
            assert (shown.labels != -10).any()
            assert all(batch.seen[picture, thing] for thing in shown.things)
            if not shown.alone:
                assert set(shown.things) <= set(batch.wanted(picture, concept))


def test_boxes_and_masks_of_a_batch_agree(pool):
    batch = pool.batch(12)
    side = batch.cover.shape[-1]
    for picture, thing in torch.nonzero(batch.seen).tolist():
        x, y, width, height = (batch.boxes[picture, thing] * side).tolist()
        rows, columns = torch.nonzero(batch.cover[picture, thing] > 0, as_tuple=True)
        assert abs(rows.min() - (y - height / 2)) < 1
        assert abs(columns.max() + 1 - (x + width / 2)) < 1


def test_each_wanted_thing_gets_the_query_that_lies_on_it():
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]])
    asked = Asked(
        boxes=boxes[:, [1, 0]],
        wanted=torch.tensor([[True, False]]),
        cover=torch.zeros(1, 2, 4, 4),
        anything=torch.zeros(1, 4, 4),
    )
    prompt, query, thing = match(torch.zeros(1, 3), boxes, asked, many=1)
    assert (prompt.tolist(), query.tolist(), thing.tolist()) == ([0], [1], [0])
    assert box_overlap(boxes[0, 0], boxes[0, 0]) == pytest.approx(1, abs=1e-4)
    assert box_overlap(boxes[0, 0], boxes[0, 1]) < 0


def test_training_remembers_as_inference_does(tmp_path):
    tokenizer = train_clip_tokenizer()
    model = new_video_model(new_image_model(SMALL, tokenizer)).eval()
    save(model, tokenizer, tmp_path, {})
    model = Sam3VideoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()  # what half precision left of it
    stock = ClipStock(model, 1, SMALL.mask_size, np.random.default_rng(4))
    clip = stock.draw_clip()
    masks = clip.cover[0].mean((1, 2)).argmax() == torch.arange(6)
    truth = clip.cover[:1, masks][:, 0]
    remembering = Remembering(model, stock, Phase(1, 1, 1e-3, 0.1, 0))
    with torch.no_grad():
        patches = model.detector_model.vision_encoder.backbone(clip.pixels[:3]).last_hidden_state
        maps = train_sam3_tracker.features(model, patches)
        trained = remembering.follow([[level[i : i + 1] for level in maps] for i in range(3)], truth, long_ago=0)

    tracker = Sam3TrackerVideoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    processor = Sam3TrackerVideoProcessor.from_pretrained(tmp_path)
    rgb = ((clip.pixels[:3] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    session = processor.init_video_session(
        video=[Image.fromarray(picture) for picture in rgb], inference_device="cpu", dtype=torch.float32
    )
    first = functional.interpolate(truth[None], size=(SMALL.image_size,) * 2, mode="bilinear")[0, 0] > 0.5
    processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=[1], input_masks=[first.numpy()])
    tracker(inference_session=session, frame_idx=0)
    inferred = [out.pred_masks[0, 0] for out in tracker.propagate_in_video_iterator(session, start_frame_idx=0)]
    for one, other in zip(trained, inferred[1:], strict=True):
        assert torch.corrcoef(torch.stack([one[0].flatten(), other.flatten()]))[0, 1] > 0.995


def test_a_click_lies_on_its_thing(pool):
    rng = np.random.default_rng(3)
    batch = pool.batch(8)
    truth = batch.cover[:, :1]
    at = train_sam3_tracker.places(truth > 0.6, truth, 2, rng)
    side = truth.shape[-1]
    for picture in torch.nonzero((truth > 0.6).flatten(1).sum(1) > 2)[:, 0].tolist():
        for x, y in (at[picture, 0] * side).long().tolist():
            assert truth[picture, 0, y, x] > 0.6


def test_the_second_detection_of_a_thing_is_dropped_and_the_best_threshold_keeps_the_hits():
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:2, :2], masks[2, 3:] = True, True
    assert without_duplicates(np.array([0.5, 0.9, 0.7]), masks) == [1, 2]
    answer = Answer(Concept(0, 0), True, True, np.array([0.9, 0.3]), np.array([[0.8], [0.1]]))
    assert count([answer], 0.5) == (1, 0, 0, [0.8])
    assert count([answer], 0.1) == (1, 1, 0, [0.8])
    assert best_threshold([answer]) == 0.5


def test_frames_are_asked_as_much_that_is_not_there_as_is():
    for frame in draw_frames(5, seed=7):
        there = [bool(frame.meant(concept)) for concept in frame.concepts]
        assert there == [True] * (len(there) // 2) + [False] * (len(there) // 2)
        assert len(frame.masks) == len(frame.shapes) >= 1


def test_a_concept_is_named_in_the_ways_of_people():
    assert phrase(Concept(None, 1)) == "bus"
    assert phrase(Concept(4, None)) == "orange object"
    said = {phrase(Concept(4, 1), np.random.default_rng(seed)) for seed in range(60)}
    assert said == {"orange bus", "orange buses", "an orange bus", "the orange bus"}
