"""Values of attributes against what the ontology lets be said."""

import pytest

from argus_ray.annotations import attributes
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.label import Attribute

COLOUR = Attribute(name="colour", kind="select", values=["red", "blue"], default="red")
DOORS = Attribute(name="doors", kind="number", min=2, max=5)
PLATE = Attribute(name="plate", kind="text")
SPEED = Attribute(name="speed", kind="number", min=0, per_frame=True)
BRAKING = Attribute(name="braking", kind="checkbox", per_frame=True, default=False)
CAR = [COLOUR, DOORS, PLATE, SPEED, BRAKING]


def test_values_come_back_in_the_order_of_the_ontology_without_those_that_say_nothing():
    given = {"braking": True, "speed": 0, "plate": "", "colour": "blue", "doors": None}
    assert list(attributes.check(given, CAR).items()) == [
        ("colour", "blue"),
        ("plate", ""),
        ("speed", 0),
        ("braking", True),
    ]
    assert attributes.check({}, CAR) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("colour", "green", "'colour' is one of 'red', 'blue', and not 'green'"),
        ("colour", 1, "'colour' is one of 'red', 'blue', and not 1"),
        ("colour", ["red"], "'colour' is one of"),
        ("doors", 6, "'doors' is a number from 2 to 5, and not 6"),
        ("doors", "3", "'doors' is a number from 2 to 5, and not '3'"),
        ("doors", True, "'doors' is a number from 2 to 5, and not True"),
        ("doors", float("nan"), "'doors' is a number from 2 to 5, and not nan"),
        ("doors", 10**400, "'doors' is a number from 2 to 5, and not that number"),
        ("speed", -1, "'speed' is a number of at least 0, and not -1"),
        ("speed", float("inf"), "'speed' is a number of at least 0, and not inf"),
        ("plate", 7, "'plate' is text of at most 1000 characters, and not 7"),
        ("plate", "x" * 1001, r"'plate' is text .*… \(1001 characters\)"),
        ("braking", "true", "'braking' is true or false, and not 'true'"),
        ("braking", 1, "'braking' is true or false, and not 1"),
        ("wheels", 4, "the label has no attribute 'wheels': it has 'colour', 'doors', 'plate', 'speed', 'braking'"),
    ],
)
def test_what_cannot_be_said_is_refused_in_a_sentence(name, value, says):
    with pytest.raises(InvalidRequest, match=says) as refused:
        attributes.check({name: value}, CAR)
    assert len(refused.value.detail) < 300


def test_a_label_without_attributes_takes_none():
    with pytest.raises(InvalidRequest, match="the label has no attribute 'colour': it has no attributes"):
        attributes.check({"colour": "red"}, [])


def test_what_holds_for_a_whole_track_is_given_with_it_and_what_changes_with_its_keyframes():
    assert attributes.check({"colour": "red"}, CAR, "track") == {"colour": "red"}
    assert attributes.check({"speed": 3.5}, CAR, "keyframe") == {"speed": 3.5}
    with pytest.raises(
        InvalidRequest, match="'speed' may change from frame to frame: give it with the track's keyframes"
    ):
        attributes.check({"speed": 3.5}, CAR, "track")
    with pytest.raises(InvalidRequest, match="'colour' holds for the whole track: give it with the track"):
        attributes.check({"colour": "red"}, CAR, "keyframe")


def test_defaults_are_those_of_the_place():
    assert attributes.defaults(CAR) == {"colour": "red", "braking": False}
    assert attributes.defaults(CAR, "track") == {"colour": "red"}
    assert attributes.defaults(CAR, "keyframe") == {"braking": False}
