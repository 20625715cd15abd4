"""Values of a label's attributes: what is said of one object, against what the ontology lets be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from argus_ray.errors import InvalidRequest
from argus_ray.schemas.label import Attribute

MOST_TEXT = 1000  # characters

Place = Literal["annotation", "track", "keyframe"]
"""What carries the values. A track has those that hold for it whole, its keyframes those that may change from frame to
frame, and an annotation that is part of no track has both."""


def check(values: Mapping[str, Any], attributes: Sequence[Attribute], place: Place = "annotation") -> dict[str, Any]:
    """The values, in the order of the attributes; one that is None is left out.

    Raises InvalidRequest for a name that the label does not have, a value that is not of its kind, and one in a place
    where it does not belong.
    """
    known = {one.name: one for one in attributes}
    for name, value in values.items():
        attribute = known.get(name)
        if attribute is None:
            names = ", ".join(repr(one) for one in known) or "no attributes"
            raise InvalidRequest(f"/attributes: the label has no attribute {name[:100]!r}: it has {names}")
        _check_place(attribute, place)
        if value is not None:
            _check_value(attribute, value)
    return {name: values[name] for name in known if values.get(name) is not None}


def defaults(attributes: Sequence[Attribute], place: Place = "annotation") -> dict[str, Any]:
    """What holds in such a place before anybody has said something."""
    return {one.name: one.default for one in attributes if one.default is not None and _belongs(one, place)}


def _belongs(attribute: Attribute, place: Place) -> bool:
    return place == "annotation" or attribute.per_frame == (place == "keyframe")


def _check_place(attribute: Attribute, place: Place) -> None:
    if not _belongs(attribute, place):
        said = (
            "may change from frame to frame: give it with the track's keyframes"
            if attribute.per_frame
            else "holds for the whole track: give it with the track"
        )
        raise InvalidRequest(f"/attributes: {attribute.name!r} {said}")


def _check_value(attribute: Attribute, value: Any) -> None:
    match attribute.kind:
        case "select":
            fits = isinstance(value, str) and value in attribute.values
            wanted = f"one of {', '.join(repr(one) for one in attribute.values[:20])}"
        case "number":
            low = -math.inf if attribute.min is None else attribute.min
            high = math.inf if attribute.max is None else attribute.max
            fits = (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and _is_finite(value)
                and low <= value <= high
            )
            wanted = "a number" + _range(attribute)
        case "text":
            fits = isinstance(value, str) and len(value) <= MOST_TEXT
            wanted = f"text of at most {MOST_TEXT} characters"
        case "checkbox":
            fits, wanted = isinstance(value, bool), "true or false"
    if not fits:
        raise InvalidRequest(f"/attributes: {attribute.name!r} is {wanted}, and not {_told(value)}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _range(attribute: Attribute) -> str:
    if attribute.min is not None and attribute.max is not None:
        return f" from {attribute.min:g} to {attribute.max:g}"
    if attribute.min is not None:
        return f" of at least {attribute.min:g}"
    return "" if attribute.max is None else f" of at most {attribute.max:g}"


def _told(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}… ({len(value)} characters)"
    if isinstance(value, int | float) and _is_finite(value):
        return f"{value!r}"
    return "that number" if isinstance(value, int) else f"{value!r}"[:60]
