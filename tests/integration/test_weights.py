"""Weights that lie in a real S3, brought to this machine."""

from pathlib import Path

import pytest

from argus_ray.errors import ModelUnavailable
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.models import siglip2
from argus_ray.models.loading import DEMO_MODELS
from argus_ray.settings import Settings
from argus_ray.weights import fetcher


@pytest.fixture
def settings(s3: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Settings(s3_endpoint=s3.endpoint, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key, bucket=s3.bucket)


@pytest.fixture
def uri(s3: SeaweedFS) -> str:
    client = s3.client()
    for file in (DEMO_MODELS / "siglip2").iterdir():
        client.upload_file(str(file), s3.bucket, f"models/small/{file.name}")
    client.put_object(Bucket=s3.bucket, Key="models/small/deeper/config.json", Body=b"not of this model")
    return f"s3://{s3.bucket}/models/small"


def test_a_model_in_s3_is_the_model_that_was_put_there(settings, uri):
    from_s3 = siglip2.load(uri, "cpu", fetch=fetcher(settings))
    assert from_s3.weights_id == siglip2.load("demo:siglip2", "cpu").weights_id


def test_it_is_fetched_once_and_without_what_lies_deeper(settings, uri):
    fetch = fetcher(settings)
    first = fetch(uri)
    kept = (first / "model.safetensors").stat().st_ino
    assert fetch(uri) == first
    assert (first / "model.safetensors").stat().st_ino == kept
    assert {file.name for file in first.iterdir()} == {file.name for file in (DEMO_MODELS / "siglip2").iterdir()}


def test_a_prefix_without_objects_is_refused_with_what_to_do(settings, s3):
    with pytest.raises(ModelUnavailable, match=r"no objects under .*: upload the model's folder there"):
        fetcher(settings)(f"s3://{s3.bucket}/models/none")
