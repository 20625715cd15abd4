import numpy as np
import pytest

from argus_ray.synthetic.grounds import GROUNDS
from argus_ray.synthetic.scene import COLOURS, HELD_OUT, Scene, random_scene, render, training_pair
from argus_ray.synthetic.shapes import SHAPES


def scenes(count: int, **options) -> list[Scene]:
    rng = np.random.default_rng(5)
    return [random_scene(rng, **options) for _ in range(count)]


def test_the_same_generator_draws_the_same_picture():
    one, other = (render(random_scene(np.random.default_rng(1), 3), 96, 54) for _ in range(2))
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.ids, other.ids)


def test_the_mask_of_a_thing_is_where_the_picture_changes_with_it():
    for scene in scenes(8, things=2):
        whole = render(scene, 320, 180)
        for thing in scene.things:
            without = render(
                Scene(scene.ground, scene.ground_seed, tuple(t for t in scene.things if t != thing)), 320, 180
            )
            changed = (whole.rgb.astype(int) - without.rgb).any(axis=2)
            mask = whole.ids == thing.id
            # half pixels on the outline change the picture without belonging to the mask, or the other way round
            assert (changed & mask).sum() > 0.97 * mask.sum()
            assert (changed | mask).sum() < 1.15 * mask.sum()


def test_things_do_not_hide_each_other():
    for scene in scenes(40, things=3):
        together = render(scene, 160, 90).ids
        for thing in scene.things:
            alone = render(Scene(scene.ground, scene.ground_seed, (thing,)), 160, 90).ids
            assert (together == thing.id).sum() > 0.8 * (alone == thing.id).sum() > 0


def test_a_squashed_scene_is_the_scene_resized():
    scene = scenes(1, things=2)[0]
    wide, squashed = render(scene, 256, 144).ids, render(scene, 128, 144, aspect=256 / 144).ids
    assert (wide[:, ::2] == squashed).mean() > 0.98


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_stays_in_its_square(shape):
    corners = np.concatenate([points for points, _ in SHAPES[shape]])
    assert np.abs(corners).max() <= 1.01
    assert np.abs(corners).max() > 0.7


def test_a_fifth_of_all_pairs_is_held_out_and_every_word_of_them_is_trained_elsewhere():
    assert len(HELD_OUT) * 5 == len(COLOURS) * len(SHAPES)
    for colour, shape in HELD_OUT:
        assert sum(training_pair(colour, other) for other in SHAPES) >= 7
        assert sum(training_pair(other, shape) for other in COLOURS) >= 6


def test_training_scenes_hold_no_held_out_pair_and_others_do():
    trained = {(t.colour, t.shape) for scene in scenes(300, things=(1, 3), allow=training_pair) for t in scene.things}
    free = {(t.colour, t.shape) for scene in scenes(300, things=(1, 3)) for t in scene.things}
    assert not trained & HELD_OUT
    assert free >= HELD_OUT


def test_every_ground_is_drawn():
    assert {scene.ground for scene in scenes(80)} == set(GROUNDS)
