"""What becomes of attributes when labels are merged."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from argus_ray.errors import Conflict
from argus_ray.ontology import merged_attributes
from argus_ray.schemas.label import Attribute, Label


def label(*attributes: Attribute) -> Label:
    now = datetime.now(UTC)
    return Label(
        id=uuid4(), project_id=uuid4(), number=1, name="x", colour="#000000", prompts=["x"], attributes=list(attributes),
        created_at=now, updated_at=now,
    )  # fmt: skip


def select(name: str, *values: str) -> Attribute:
    return Attribute(name=name, kind="select", values=list(values))


def test_the_label_that_goes_on_has_the_attributes_of_both():
    age = Attribute(name="age", kind="number")

    merged = merged_attributes(label(select("colour", "red", "blue"), age), label(select("colour", "blue", "green")))

    assert merged == [select("colour", "blue", "green", "red"), age]


def test_attributes_of_one_name_and_two_kinds_are_not_merged():
    with pytest.raises(Conflict, match="of kind text and of kind number"):
        merged_attributes(label(Attribute(name="age", kind="text")), label(Attribute(name="age", kind="number")))


def test_no_label_gets_more_than_it_may_have():
    many = [Attribute(name=str(n), kind="text") for n in range(40)]
    more = [Attribute(name=str(n), kind="text") for n in range(30, 70)]

    with pytest.raises(Conflict, match="too many attributes"):
        merged_attributes(label(*many), label(*more))
