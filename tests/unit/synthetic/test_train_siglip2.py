import math

import numpy as np

from argus_ray.models import siglip2
from argus_ray.synthetic.scene import HELD_OUT, random_scene, training_pair
from argus_ray.synthetic.train_siglip2 import Recipe, sentences, train


def test_a_training_run_ends_in_a_folder_that_loads(tmp_path):
    tiny = Recipe(
        width=64, heads=1, vision_layers=1, text_layers=1, batch=8, patch_steps=1, steps=3, pool=16, fresh=1, gallery=60
    )
    scores = train(tiny, tmp_path)
    model = siglip2.load(str(tmp_path))
    assert (model.dim, model.image_size) == (64, 128)
    assert 0 < scores["map_bare"] < 1
    assert not math.isnan(model.embed_texts(["red car"]).sum())


def test_training_never_says_a_held_out_pair():
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, (1, 3), allow=training_pair) for _ in range(64)]
    for _ in range(10):
        queries = sentences(scenes, 20, rng)
        assert len({query.text for query in queries}) == len(queries) > 64
        assert not any(pair in HELD_OUT for query in queries for pair in query.things)
