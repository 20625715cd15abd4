import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from argus_ray.errors import ModelUnavailable, ModelUnsupported
from argus_ray.models import siglip2
from argus_ray.models.loading import DEMO_MODELS, is_at_hand, resolve, weights_id


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The demo weights in a folder that a test may spoil."""
    return Path(shutil.copytree(DEMO_MODELS / "siglip2", tmp_path / "model"))


def change_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_a_name_is_a_demo_model_a_folder_or_what_fetch_brings(copy):
    assert resolve("demo:siglip2") == DEMO_MODELS / "siglip2"
    assert resolve(str(copy)) == copy
    asked = []
    assert resolve("s3://bucket/prefix", fetch=lambda uri: asked.append(uri) or copy) == copy
    assert asked == ["s3://bucket/prefix"]


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("/no/such/folder", "Name a hub id such as google/siglip2-base-patch16-224"),
        ("demo:other", "demo:siglip2"),
        ("s3://bucket/prefix", "fetch it, and name the folder"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_do(uri, advice):
    with pytest.raises(ModelUnavailable, match=advice):
        siglip2.load(uri)


def test_without_a_network_the_error_says_what_to_do_and_nothing_falls_back(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"google/siglip2-base-patch16-224 cannot be had.*--demo-models"):
        siglip2.load("google/siglip2-base-patch16-224")


def test_a_naflex_checkpoint_is_refused_by_name(copy):
    change_config(copy, model_type="siglip2")
    with pytest.raises(ModelUnsupported, match=r"NaFlex.*google/siglip2-base-patch16-224"):
        siglip2.load(str(copy))


def test_a_model_of_another_kind_is_refused(copy):
    change_config(copy, model_type="clip")
    with pytest.raises(ModelUnsupported, match="type 'clip'"):
        siglip2.load(str(copy))


@pytest.mark.parametrize("towers", ["both", "vision"])
def test_weights_that_leave_a_part_random_are_refused(copy, towers):
    change_weights(copy, lambda tensors: tensors.pop("vision_model.head.probe"))
    with pytest.raises(ModelUnavailable, match=r"missing keys: .*probe"):
        siglip2.load(str(copy), towers=towers)


@pytest.mark.parametrize("towers", ["both", "vision"])
def test_weights_that_fit_no_part_are_refused(copy, towers):
    change_weights(copy, lambda tensors: tensors.update(adapter=tensors["logit_bias"].clone()))
    with pytest.raises(ModelUnavailable, match="unexpected keys: adapter"):
        siglip2.load(str(copy), towers=towers)


def test_broken_weights_are_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        siglip2.load(str(copy))


def test_a_folder_without_safetensors_is_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="only safetensors"):
        siglip2.load(str(copy))


def test_a_config_that_is_not_json_is_refused(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="not JSON"):
        siglip2.load(str(copy))


def test_the_weights_id_changes_with_what_an_embedding_depends_on_and_with_nothing_else(copy):
    before = weights_id(copy)
    (copy / "README.md").write_text("another text")
    assert weights_id(copy) == before
    change_weights(copy, lambda tensors: tensors["logit_bias"].add_(1))
    after = weights_id(copy)
    assert after != before
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + "\n")
    assert weights_id(copy) not in {before, after}


def test_weights_are_at_hand_where_no_hub_is_needed(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert all(map(is_at_hand, ["demo:siglip2", str(copy), "s3://bucket/models/one"]))
    assert not any(map(is_at_hand, ["demo:other", "/no/such/folder", "facebook/sam3", "facebook/sam3@main"]))
