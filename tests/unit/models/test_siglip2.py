import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from argus_ray.errors import ModelUnavailable, ModelUnsupported
from argus_ray.models import siglip2
from argus_ray.models.loading import DEMO_MODELS
from argus_ray.synthetic import evaluate
from argus_ray.synthetic.language import bare, is_true_of
from argus_ray.synthetic.scene import random_scene, render

FOLDER = DEMO_MODELS / "siglip2"


@pytest.fixture(scope="module")
def model() -> siglip2.Siglip2:
    return siglip2.load("demo:siglip2", device="cpu")


@pytest.fixture(scope="module")
def reference():
    """transformers' own way from pictures and words to vectors, in float32."""
    return AutoModel.from_pretrained(FOLDER, dtype=torch.float32).eval(), AutoProcessor.from_pretrained(FOLDER)


def pictures(count: int, width: int = 128, height: int = 128) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.stack([render(random_scene(rng), width, height, 16 / 9).rgb for _ in range(count)])


def cosines(one: np.ndarray, other: torch.Tensor) -> np.ndarray:
    return (one * torch.nn.functional.normalize(other, dim=-1).numpy()).sum(axis=1)


def test_vectors_have_unit_length_and_the_models_dimension(model):
    for vectors in (model.embed_images(pictures(3)), model.embed_texts(["red car", "boat", ""])):
        assert vectors.shape == (3, model.dim)
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_nothing_in_is_nothing_out(model):
    assert model.embed_images(np.empty((0, 128, 128, 3), np.uint8)).shape == (0, model.dim)
    assert model.embed_texts([]).shape == (0, model.dim)


def test_pictures_come_out_as_by_transformers_in_float32(model, reference):
    whole, processor = reference
    shown = pictures(20)  # more than one batch
    with torch.inference_mode():
        values = processor(images=list(shown), return_tensors="pt")["pixel_values"]
        expected = whole.get_image_features(pixel_values=values).pooler_output
    assert cosines(model.embed_images(shown), expected).min() > 0.999


def test_pictures_of_another_size_are_squashed_as_by_the_processor(model, reference):
    whole, processor = reference
    shown = pictures(4, width=640, height=360)
    with torch.inference_mode():
        values = processor(images=list(shown), return_tensors="pt")["pixel_values"]
        expected = whole.get_image_features(pixel_values=values).pooler_output
    assert cosines(model.embed_images(shown), expected).min() > 0.999
    squashed = model.squash(shown).astype(float).transpose(0, 3, 1, 2)
    assert np.abs(squashed - (values.numpy() + 1) * 127.5).max() < 1.01


def test_words_are_lower_cased_and_padded_and_come_without_a_mask(model, reference):
    whole, processor = reference
    words = ["red car", "a blue ball and a green tree on snow"]
    ids = processor.tokenizer(words, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = whole.get_text_features(input_ids=ids).pooler_output
        unpadded = whole.get_text_features(input_ids=processor.tokenizer(words[0], return_tensors="pt")["input_ids"])
    vectors = model.embed_texts([words[0].upper(), words[1]])
    assert cosines(vectors, expected).min() > 0.999
    assert cosines(vectors[:1], unpadded.pooler_output).max() < 0.9  # so the rule matters


def test_any_text_has_a_vector_however_long_or_strange(model):
    vectors = model.embed_texts(["красная машина", "赤い車 \U0001f697", "car " * 500, "\n\t", "red car"])
    assert np.isfinite(vectors).all()


def test_a_text_has_the_same_vector_in_any_company(model):
    alone = model.embed_texts(["red car"])
    together = model.embed_texts(["red car", *(f"blue {n}" for n in range(40))])[:1]
    assert (alone * together).sum() > 0.9999


def test_the_vision_tower_alone_gives_the_same_vectors_and_knows_no_words(model):
    vision = siglip2.load("demo:siglip2", device="cpu", towers="vision")
    shown = pictures(3)
    assert np.array_equal(vision.embed_images(shown), model.embed_images(shown))
    for fact in ("dim", "image_size", "weights_id", "logit_scale", "logit_bias"):
        assert getattr(vision, fact) == getattr(model, fact)
    with pytest.raises(ModelUnavailable, match="load both towers"):
        vision.embed_texts(["red car"])


def test_a_folder_laid_out_as_the_real_checkpoints_gives_the_same_vectors(model, tmp_path):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "model"))
    processor = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "processor_config.json").unlink()
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words |= {"tokenizer_class": "GemmaTokenizer", "model_input_names": ["input_ids", "attention_mask"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))

    other = siglip2.load(str(folder), device="cpu")
    assert np.array_equal(other.embed_images(pictures(2, 320, 180)), model.embed_images(pictures(2, 320, 180)))
    assert np.array_equal(other.embed_texts(["a RED Car on sand"]), model.embed_texts(["a red car on sand"]))


def test_scale_and_bias_are_those_of_the_weights(model, reference):
    whole, _ = reference
    assert model.logit_scale == pytest.approx(math.exp(float(whole.logit_scale.detach())))
    assert model.logit_bias == pytest.approx(float(whole.logit_bias.detach()))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((1, 3, 128, 128), np.uint8), np.zeros((128, 128, 3), np.uint8), np.zeros((1, 128, 128, 3), np.float32)],
)
def test_arrays_of_another_form_are_refused(model, pixels):
    with pytest.raises(ValueError, match="must be uint8"):
        model.embed_images(pixels)


def test_numbers_that_overflow_are_an_error_and_not_a_vector():
    broken = siglip2.load("demo:siglip2", device="cpu")
    with torch.no_grad():
        broken._vision.post_layernorm.weight.fill_(float("inf"))
    with pytest.raises(ModelUnsupported, match="overflow"):
        broken.embed_images(pictures(1))


def test_read_only_arrays_are_taken_as_ray_hands_them_out(model):
    shown = pictures(2)
    shown.flags.writeable = False
    assert np.isfinite(model.embed_images(shown)).all()


def test_it_finds_what_is_asked_for_among_scenes_it_has_not_seen(model):
    rng = np.random.default_rng(99)
    scenes = [random_scene(rng) for _ in range(150)]
    shown = model.embed_images(np.stack([render(scene, 320, 180).rgb for scene in scenes]))
    asked = [bare(*pair) for pair in sorted({(t.colour, t.shape) for scene in scenes for t in scene.things})]
    order = np.argsort(-model.embed_texts([query.text for query in asked]) @ shown.T, axis=1).tolist()
    truth = [{i for i, scene in enumerate(scenes) if is_true_of(query, scene)} for query in asked]
    assert evaluate.mean_average_precision(order, truth) > 0.75
