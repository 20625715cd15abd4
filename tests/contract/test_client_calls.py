"""Whatever the API offers, the client can ask: each operation of the OpenAPI document has a call that describes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel

from argus_ray.client import annotation_calls, calls, dataset_calls
from argus_ray.client.call import Call, Pages
from argus_ray.schemas.annotation import AnnotationCreate
from argus_ray.settings import Settings
from serve_apps.api.app import create_app

AN_ID = UUID(int=1)
GIVEN: dict[Any, Any] = {
    str: "a@example.org",
    int: 1,
    UUID: AN_ID,
    AnnotationCreate: AnnotationCreate(video_id=AN_ID, pts_us=0, label_id=AN_ID, tag=True),
}
"""What is checked when it is put into a request."""
FOR_MACHINES = {"GET /healthz", "GET /readyz"}


def something(kind: Any) -> Any:
    """Any value of a parameter's type that makes a path."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Mapping, dict}:
        return {}
    if origin is Literal:
        return inner[0]
    if origin is not None:
        one = something(next(one for one in inner if one is not type(None)))
        return [one] if origin in {Sequence, list} else one
    if kind in GIVEN:
        return GIVEN[kind]
    if issubclass(kind, Enum):
        return next(iter(kind))
    assert issubclass(kind, BaseModel), kind
    fields = {"id": AN_ID, "project_id": AN_ID, "version": 1}
    return kind.model_construct(**{name: value for name, value in fields.items() if name in kind.model_fields})


def described() -> Iterator[Call[Any]]:
    """The calls of every function that describes one."""
    for module in (calls, annotation_calls, dataset_calls):
        functions = [calls.search, calls.sign_in] if module is calls else []
        for _, group in inspect.getmembers(module, inspect.isclass):
            if group.__module__ == module.__name__:
                functions += [one.__func__ for one in vars(group).values() if isinstance(one, staticmethod)]
        for function in functions:
            kinds = get_type_hints(function)
            needed = [
                something(kinds[name])
                for name, one in inspect.signature(function).parameters.items()
                if one.default is inspect.Parameter.empty
            ]
            call = function(*needed)
            yield call.first if isinstance(call, Pages) else call


def test_every_operation_of_the_document_has_a_call_of_the_client():
    document = create_app(Settings(), siglip2=None).openapi()  # type: ignore[arg-type]  # nobody asks it anything
    operations = {
        f"{method.upper()} {path}": re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/:]+", re.escape(path)))
        for path, methods in document["paths"].items()
        for method in methods
    }
    asked = [*described()]

    without = {
        name
        for name, path in operations.items()
        if not any(call.method == name.split()[0] and path.fullmatch(call.path) for call in asked)
    }
    unknown = {
        f"{call.method} {call.path}"
        for call in asked
        if not any(name.split()[0] == call.method and path.fullmatch(call.path) for name, path in operations.items())
    }

    assert without == FOR_MACHINES
    assert unknown == set()
