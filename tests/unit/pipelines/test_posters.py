from __future__ import annotations

import io

import numpy as np
from PIL import Image

from argus_ray.pipelines.posters import draw, poster_of


def jpeg(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG")
    return out.getvalue()


def test_a_poster_is_small_and_keeps_the_shape():
    with Image.open(io.BytesIO(draw(jpeg(np.zeros((1080, 1920, 3), np.uint8))))) as poster:
        assert poster.size == (640, 360)


def test_a_small_frame_is_not_blown_up():
    with Image.open(io.BytesIO(draw(jpeg(np.zeros((60, 80, 3), np.uint8))))) as poster:
        assert poster.size == (80, 60)


def test_the_poster_is_not_the_black_frame_that_videos_begin_with():
    black, picture = np.zeros((64, 64, 3), np.uint8), np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    poster = poster_of([black, picture, black], [jpeg(black), jpeg(picture), jpeg(black)])
    with Image.open(io.BytesIO(poster)) as drawn:
        assert np.asarray(drawn).std() > 20
