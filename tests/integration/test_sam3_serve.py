"""The SAM 3 deployment on a real local Ray with a real S3, called as the API calls it: through a handle."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ray import serve
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from argus_ray import rle
from argus_ray.errors import InvalidRequest, ModelUnavailable, NotFound, TooLarge
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.models import sam3
from argus_ray.models.concepts import Click, Found, Pointed, Prompt
from argus_ray.s3 import S3
from argus_ray.settings import Settings
from argus_ray.synthetic.scene import random_scene, render
from serve_apps.sam3 import Args, build
from tests import tiny_sam3

PROMPTS = [Prompt("red car"), Prompt("blue ball"), Prompt(boxes=((0.1, 0.1, 0.3, 0.3),))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the weights will be, once a test has written them."""
    return tmp_path_factory.mktemp("sam3") / "model"


@pytest.fixture(scope="module")
def deployment(ray_cluster: None, folder: Path, s3: SeaweedFS) -> Iterator[DeploymentHandle]:
    """No replica runs, and there are no weights yet: the first tests change both. One for all, since it starts slowly."""
    args = Args(
        uri=str(folder),
        device="cpu",
        num_cpus=0.2,
        max_queued_requests=3,
        retry_after_s=7,
        load_again_after_s=0,
        max_pixels=1_000_000,
        cache_bytes=2_000_000,
    )
    app = build(args)
    known = {f"ARGUS_S3_{name.upper()}": getattr(s3, name) for name in ("endpoint", "access_key", "secret_key")}
    app._bound_deployment = app._bound_deployment.options(  # a stack gives its Ray this environment
        ray_actor_options={
            "num_cpus": args.num_cpus,
            "runtime_env": {"env_vars": known | {"ARGUS_BUCKET": s3.bucket}},
        }
    )
    yield serve.run(app, name="sam3", route_prefix=None)
    serve.shutdown()


@pytest.fixture(scope="module")
def model(folder: Path) -> sam3.Sam3:
    return sam3.load(str(tiny_sam3.write(folder)), "cpu")


def picture(seed: int = 0) -> np.ndarray:
    return render(random_scene(np.random.default_rng(seed)), 96, 64).rgb


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def same(one: Found, other: Found) -> bool:
    return one.scores == pytest.approx(other.scores, abs=1e-4) and bool(
        (np.diagonal(rle.iou(one.masks, other.masks)) > 0.98).all()
    )


def test_arguments_of_a_config_file_reach_the_builder_with_their_types():
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as start_as_serve_does

    assert isinstance(start_as_serve_does(build, {"uri": "demo:sam3", "num_cpus": "0.2"}), serve.Application)
    with pytest.raises(ValidationError, match="no_such_thing"):
        start_as_serve_does(build, {"no_such_thing": 1})


def test_from_zero_replicas_as_many_wait_as_may_and_the_others_are_told_to_come_back(deployment, folder):
    assert not folder.exists()
    waiting = [deployment.info.remote() for _ in range(8)]
    answered, refused = [], []
    for answer in waiting:
        with pytest.raises((BackPressureError, ModelUnavailable)) as raised:
            answer.result(timeout_s=180)
        (refused if isinstance(raised.value, BackPressureError) else answered).append(raised.value)
    assert {(error.status_code, error.retry_after_s) for error in refused} == {(429, 7)}
    assert len(answered) == 3  # there are no weights, which each is told: nothing falls back
    assert all("holds no model" in str(error) for error in answered)


def test_weights_are_there_for_who_asks_after_they_have_come(deployment, model):
    info = deployment.info.remote().result(timeout_s=120)
    assert info["weights_id"] == info["model_id"] == model.weights_id
    assert (info["family"], info["tracker"], info["score_threshold"]) == ("sam3", "video", 0.0)


def test_requests_that_share_a_pass_each_get_their_own_answers(deployment, model):
    requests = [(number % 4, PROMPTS[: 1 + number % 3]) for number in range(16)]
    waiting = [deployment.find.remote(model.weights_id, [png(picture(seed))], prompts) for seed, prompts in requests]
    features = model.features([picture(seed) for seed in range(4)])
    for (seed, prompts), answer in zip(requests, waiting, strict=True):
        [found] = answer.result(timeout_s=120)
        assert all(map(same, found, model.find(features[seed], prompts)))


def test_a_picture_in_s3_is_named_by_its_key_and_seen_once(deployment, model, s3):
    S3(
        Settings(s3_endpoint=s3.endpoint, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key, bucket=s3.bucket)
    ).put_frames([("frames/one.jpg", png(picture(7)))])
    before = deployment.info.remote().result(timeout_s=60)["kept"]
    first = deployment.find.remote(model.weights_id, [("s3", "frames/one.jpg")], PROMPTS).result(timeout_s=60)
    again = deployment.find.remote(model.weights_id, [("s3", "frames/one.jpg")], PROMPTS).result(timeout_s=60)
    [as_file] = deployment.find.remote(model.weights_id, [png(picture(7))], PROMPTS).result(timeout_s=60)
    assert all(map(same, first[0], as_file))
    assert all(map(same, first[0], again[0]))
    after = deployment.info.remote().result(timeout_s=60)["kept"]
    assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (1, 2)
    with pytest.raises(NotFound, match=r"frames/none\.jpg"):
        deployment.find.remote(model.weights_id, [("s3", "frames/none.jpg")], PROMPTS).result(timeout_s=60)


def test_what_is_kept_of_pictures_is_bounded_in_bytes(deployment, model):
    for seed in range(20, 50):
        deployment.find.remote(model.weights_id, [png(picture(seed))], PROMPTS[:1]).result(timeout_s=60)
    kept = deployment.info.remote().result(timeout_s=60)["kept"]
    assert 1_000_000 < kept["bytes"] <= 2_000_000


def test_masks_have_the_size_that_is_asked_for_each_picture(deployment, model):
    found = deployment.find.remote(
        model.weights_id, [png(picture(1)), png(picture(2))], PROMPTS[:1], sizes=[(36, 64), (108, 192)]
    ).result(timeout_s=60)
    assert [{mask.size for mask in answers[0].masks} for answers in found] == [{(36, 64)}, {(108, 192)}]


def test_clicks_share_the_pass_and_the_picture(deployment, model):
    objects = [Pointed((Click(0.5, 0.5),)), Pointed(box=(0.2, 0.2, 0.4, 0.5))]
    waiting = [
        deployment.segment.remote(model.weights_id, png(picture(3)), objects),
        deployment.find.remote(model.weights_id, [png(picture(3))], PROMPTS),
    ]
    segmented, [found] = (answer.result(timeout_s=60) for answer in waiting)
    [features] = model.features([picture(3)])
    assert [one.ious for one in segmented] == [
        pytest.approx(one.ious, abs=1e-4) for one in model.segment(features, objects)
    ]
    assert all(map(same, found, model.find(features, PROMPTS)))


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda at, name: at.find.remote("other", [png(picture())], PROMPTS), NotFound, "'other' is not served here"),
        (lambda at, name: at.find.remote(name, [b"no picture"], PROMPTS), InvalidRequest, "no picture"),
        (
            lambda at, name: at.find.remote(name, [png(np.zeros((1200, 1000, 3), np.uint8))], PROMPTS),
            TooLarge,
            "pixels",
        ),
        (lambda at, name: at.find.remote(name, [png(picture())], [Prompt("red " * 60)]), InvalidRequest, "62 tokens"),
        (lambda at, name: at.find.remote(name, [png(picture())] * 17, PROMPTS), InvalidRequest, "17 pictures"),
        (lambda at, name: at.find.remote(name, [png(picture())], PROMPTS * 100), InvalidRequest, "300 questions"),
        (
            lambda at, name: at.segment.remote(name, png(picture()), [Pointed(mask=rle.encode(np.ones((8, 8), bool)))]),
            InvalidRequest,
            "size is 8 x 8",
        ),
    ],
)
def test_a_bad_request_fails_alone(deployment, model, ask, error, told):
    bad = ask(deployment, model.weights_id)
    good = deployment.find.remote(model.weights_id, [png(picture(5))], PROMPTS[:1])
    with pytest.raises(error, match=told):
        bad.result(timeout_s=60)
    assert len(good.result(timeout_s=60)[0][0].masks) > 0
