import numpy as np

from argus_ray.synthetic.language import BARE_QUERIES, Query, bare, caption, is_true_of, remark
from argus_ray.synthetic.scene import Scene, Thing, random_scene


def scene_of(*pairs: tuple[str, str], ground: str = "sand") -> Scene:
    things = [
        Thing(i, colour, shape, (0, 0, 0), 0.5, 0.5, 0.2, 0, mirrored=False)
        for i, (colour, shape) in enumerate(pairs, 1)
    ]
    return Scene(ground, 0, tuple(things))


def test_red_car_is_not_true_of_a_red_ball_beside_a_blue_car():
    assert is_true_of(bare("red", "car"), scene_of(("red", "car")))
    assert not is_true_of(bare("red", "car"), scene_of(("red", "ball"), ("blue", "car")))


def test_two_wanted_things_need_two_things():
    two = Query("a car and a red car", ((None, "car"), ("red", "car")))
    assert not is_true_of(two, scene_of(("red", "car")))
    assert is_true_of(two, scene_of(("red", "car"), ("blue", "car")))


def test_the_ground_counts_where_it_is_named():
    on_snow = Query("red car on snow", (("red", "car"),), "snow")
    assert not is_true_of(on_snow, scene_of(("red", "car")))
    assert is_true_of(on_snow, scene_of(("red", "car"), ground="snow"))


def test_a_caption_tells_the_whole_scene():
    told = caption(scene_of(("orange", "fish"), ("blue", "ball")))
    assert told.text == "an orange fish and a blue ball on sand"
    assert told.things == (("orange", "fish"), ("blue", "ball"))


def test_what_is_said_of_a_scene_is_true_of_it():
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = random_scene(rng, (0, 3))
        assert is_true_of(remark(scene, rng), scene)
        assert is_true_of(caption(scene), scene)


def test_there_is_one_bare_query_for_every_colour_and_shape():
    assert len({query.text for query in BARE_QUERIES}) == 80
