"""The SigLIP 2 deployment on a real local Ray, called as the API calls it: through a handle."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ray import serve
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from argus_ray.errors import InvalidRequest, NotFound, TooLarge
from argus_ray.models import siglip2
from argus_ray.synthetic.scene import random_scene, render
from serve_apps.siglip2 import Args, build


@pytest.fixture(scope="module")
def serving(ray_cluster: None) -> Iterator[None]:
    yield
    serve.shutdown()


@pytest.fixture(scope="module")
def deployment(serving: None) -> DeploymentHandle:
    app = build(
        Args(uri="demo:siglip2", model_id="words-and-pictures", device="cpu", num_cpus=0.2, max_pixels=1_000_000)
    )
    return serve.run(app, name="siglip2", route_prefix=None)


@pytest.fixture(scope="module")
def model() -> siglip2.Siglip2:
    return siglip2.load("demo:siglip2", device="cpu")


def picture() -> np.ndarray:
    return render(random_scene(np.random.default_rng(0)), 640, 360).rgb


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_arguments_of_a_config_file_reach_the_builder_with_their_types():
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as start_as_serve_does

    assert isinstance(start_as_serve_does(build, {"uri": "demo:siglip2", "num_cpus": "0.2"}), serve.Application)
    with pytest.raises(ValidationError, match="no_such_thing"):
        start_as_serve_does(build, {"no_such_thing": 1})


def test_info_says_which_model_answers(deployment, model):
    assert deployment.info.remote().result() == {
        "family": "siglip2",
        "model_id": "words-and-pictures",
        "uri": "demo:siglip2",
        "weights_id": model.weights_id,
        "dim": model.dim,
        "image_size": model.image_size,
        "logit_scale": model.logit_scale,
        "logit_bias": model.logit_bias,
    }


def test_requests_that_share_a_batch_each_get_their_own_vectors(deployment, model):
    requests = [
        [f"{colour} {shape}" for shape in ("car", "boat", "dog")[: 1 + i % 3]]
        for i, colour in enumerate(["red", "blue", "green"] * 10)
    ]
    waiting = [deployment.embed_texts.remote(model.weights_id, texts) for texts in requests]
    for texts, answer in zip(requests, waiting, strict=True):
        assert (answer.result() * model.embed_texts(texts)).sum(axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-3)


def test_a_picture_has_one_vector_as_file_and_as_pixels(deployment, model):
    as_file = deployment.embed_images.remote("demo:siglip2", [png(picture()), png(picture())]).result()
    as_pixels = deployment.embed_images.remote("demo:siglip2", picture()[None]).result()
    assert (as_file * as_pixels).sum(axis=1) == pytest.approx([1, 1], abs=1e-3)
    assert (as_pixels * model.embed_images(picture()[None])).sum() == pytest.approx(1, abs=1e-3)


def test_a_request_for_another_model_is_told_which_one_is_here(deployment, model):
    with pytest.raises(NotFound, match="'other' is not served here: this deployment answers for words-and-pictures"):
        deployment.embed_texts.remote("other", ["red car"]).result()


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ([b"no picture"], InvalidRequest),
        ([png(np.zeros((1200, 1000, 3), np.uint8))], TooLarge),
        ([png(np.zeros((2, 2, 3), np.uint8))] * 257, InvalidRequest),
    ],
)
def test_a_bad_picture_fails_alone(deployment, model, files, error):
    bad = deployment.embed_images.remote(model.weights_id, files)
    good = deployment.embed_images.remote(model.weights_id, [png(picture())])
    with pytest.raises(error):
        bad.result()
    assert good.result().shape == (1, model.dim)


def test_from_zero_replicas_as_many_wait_as_may_and_the_others_are_told_to_come_back(serving, model):
    args = Args(uri="demo:siglip2", device="cpu", num_cpus=0.2, min_replicas=0, max_queued_requests=3, retry_after_s=7)
    handle = serve.run(build(args), name="from-zero", route_prefix=None)
    waiting = [handle.embed_texts.remote(model.weights_id, ["red car"]) for _ in range(8)]
    answered, refused = [], []
    for answer in waiting:
        try:
            answered.append(answer.result(timeout_s=60))
        except BackPressureError as error:
            refused.append(error)
    assert len(answered) == 3
    assert {(error.status_code, error.retry_after_s) for error in refused} == {(429, 7)}
