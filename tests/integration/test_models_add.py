"""Weights from a hub to S3 and into the catalogue: over real HTTP, S3 and Postgres, with all that a hub may answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from argus_ray import hub, weights
from argus_ray.errors import ModelUnavailable, ModelUnsupported
from argus_ray.local.stack import environment
from argus_ray.models import sam3
from argus_ray.models.loading import DEMO_MODELS
from argus_ray.settings import Settings
from tests import tiny_sam3
from tests.desk import Command
from tests.fake_hub import COMMIT, OTHER_TOKEN, TOKEN, FakeHub
from tests.ingesting import place

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def settings(postgres, s3, tmp_path_factory) -> Iterator[Settings]:
    here = place(postgres, s3, tmp_path_factory.mktemp("place"))
    yield here.settings.model_copy(update={"database_url": SecretStr(postgres.url(here.owner.info.dbname))})
    here.owner.close()


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The hub, this machine's caches empty, and the token of somebody who accepted the licence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = tiny_sam3.write(tmp_path / "model")
    (folder / "LICENSE").write_text("what one agrees to")
    with FakeHub(folder) as served:
        yield served


def add(settings: Settings, at: FakeHub, name: str = "facebook/sam3") -> hub.Added:
    return hub.add(settings, hub.look(name, endpoint=at.url), lambda _: None, endpoint=at.url)


def keys(s3, prefix: str) -> set[str]:
    found = s3.client().list_objects_v2(Bucket=s3.bucket, Prefix=prefix).get("Contents", [])
    return {one["Key"].removeprefix(prefix) for one in found}


def test_a_gated_model_is_explained_before_anything_is_fetched(at):
    offer = hub.look("facebook/sam3", endpoint=at.url)
    assert (offer.gated, offer.licence, offer.licence_url) == (True, "sam-license", "https://example.org/LICENSE")
    assert {file.name for file in offer.files} >= {"config.json", WEIGHTS, "tokenizer.json", "LICENSE"}
    assert "sam3.pt" not in {file.name for file in offer.files}
    assert at.asked == []


def test_a_model_goes_to_s3_once_is_checked_and_registered_with_its_licence(settings, at, s3):
    added = add(settings, at)
    model, prefix = added.model, f"models/facebook/sam3/{COMMIT[:12]}/"
    assert added.uri == model.uri == f"s3://{s3.bucket}/{prefix}".rstrip("/")
    assert (model.family, model.licence) == ("sam3", "sam-license (https://example.org/LICENSE)")
    assert keys(s3, prefix) == {file.name for file in at.folder.iterdir()}
    loaded = sam3.load(model.uri, "cpu", fetch=weights.fetcher(settings))
    assert loaded.weights_id == model.weights_id == sam3.load(str(at.folder), "cpu").weights_id
    with psycopg.connect(settings.secret("database_url") or "") as owner:
        assert owner.execute(
            "select count(*) from argus.models where weights_id = %s", (model.weights_id,)
        ).fetchone() == (1,)
    assert add(settings, at) == added  # the same again changes nothing


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("", r"licence must be accepted once at https://huggingface.co/facebook/sam3, and HF_TOKEN set"),
        (OTHER_TOKEN, r"licence must be accepted once at https://huggingface.co/facebook/sam3, and HF_TOKEN set"),
        ("hf_nonsense", r"refuses the token in HF_TOKEN \(401\)"),
    ],
)
def test_without_the_right_token_it_is_told_what_to_do_and_nothing_is_written(
    settings, at, s3, monkeypatch, token, told
):
    monkeypatch.setenv("HF_TOKEN", token)
    at.repo = "facebook/another"
    with pytest.raises(ModelUnavailable, match=told.replace("facebook/sam3", "facebook/another")):
        add(settings, at, "facebook/another")
    assert keys(s3, "models/facebook/another/") == set()


def test_a_broken_transfer_says_so_and_goes_on_where_it_broke(settings, at, s3, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**20
    )  # of 10 MiB, else none is kept of so few
    at.repo, at.breaks = "facebook/broken", {WEIGHTS: 3_000_000}
    with pytest.raises(ModelUnavailable, match=r"broke off after 2097152 of \d+ bytes: ask for the same again"):
        add(settings, at, at.repo)
    assert keys(s3, "models/facebook/broken/") == set()
    at.heal()
    at.asked.clear()
    added = add(settings, at, at.repo)
    assert (WEIGHTS, 2**21) in at.asked
    assert not {name for name, start in at.asked if start == 0}  # nothing came twice
    assert sam3.load(added.uri, "cpu", fetch=weights.fetcher(settings)).image_size == 56


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_file_with_another_hash_is_thrown_away_and_nothing_is_written(settings, at, s3, name):
    at.repo, at.lies = f"facebook/lies-about-{name}", {name}
    with pytest.raises(ModelUnavailable, match=rf"{name} is not the file that the hub states"):
        add(settings, at, at.repo)
    assert keys(s3, f"models/{at.repo}/") == set()
    at.lies = set()
    assert add(settings, at, at.repo).model.family == "sam3"


def test_weights_that_are_not_whole_are_refused_before_they_are_written(settings, at, s3):
    from safetensors.torch import load_file, save_file

    at.repo = "facebook/half"
    tensors = load_file(at.folder / WEIGHTS)
    del tensors[next(iter(tensors))]
    save_file(tensors, at.folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="missing keys"):
        add(settings, at, at.repo)
    assert keys(s3, "models/facebook/half/") == set()


def test_a_model_of_another_kind_is_refused_before_its_weights_come(settings, at):
    (at.folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelUnsupported, match="type 'clip'"):
        add(settings, at)
    assert [name for name, _ in at.asked] == ["config.json"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("facebook/nothing", "knows no such model"),
        ("facebook/sam3@no-such", "no revision 'no-such'"),
        ("no hub id", "is no hub id"),
    ],
)
def test_what_the_hub_does_not_have_is_told(at, name, told):
    with pytest.raises(ModelUnavailable, match=told):
        hub.look(name, endpoint=at.url)


def test_a_hub_that_cannot_be_reached_is_told(at):
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        hub.look("facebook/sam3", endpoint="http://127.0.0.1:9")


def test_siglip2_weights_are_added_the_same_way(settings, at, s3, tmp_path):
    with FakeHub(DEMO_MODELS / "siglip2", repo="google/small", gated=False) as open_hub:
        added = add(settings, open_hub, "google/small")
    assert (added.model.family, added.uri) == ("siglip2", f"s3://{s3.bucket}/models/google/small/{COMMIT[:12]}")


def test_the_command_asks_for_the_licence_and_says_what_to_set(settings, at, monkeypatch, capsys):
    argus = Command(monkeypatch, capsys)
    known = environment(settings) | {"ARGUS_DATABASE_URL": settings.secret("database_url") or "", "HF_ENDPOINT": at.url}
    at.repo = "facebook/command"

    refused = argus("models", "add", at.repo, stdin="n\n", **known)
    assert (refused.code != 0, refused.out, at.asked) == (True, "", [])
    assert "licence: sam-license, https://example.org/LICENSE, which must have been accepted" in refused.err
    done = argus("models", "add", at.repo, stdin="y\n", **known)
    uri = f"s3://{settings.bucket}/models/facebook/command/{COMMIT[:12]}"
    assert (done.code, done.out) == (0, f"{uri}\n")
    assert f"ARGUS_SAM3_MODEL={uri}" in done.err
