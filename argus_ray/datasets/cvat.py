"""CVAT for video 1.1, out: `<video>/annotations.xml`, whose frame numbers are the places of the video's pictures.

Shapes are in pixels of the pictures. A track is closed by a shape with `outside` one frame after it was last seen. A mask
is a track of its own, since CVAT tracks none: masks of one object share a group. Its runs go along the rows within its
box. What is read stands in cvat_reading.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from argus_ray import rle
from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import ZipWriter
from argus_ray.datasets.records import Category, Clip, Contents, Instance, Picture
from argus_ray.datasets.regroup import ByTrack
from argus_ray.datasets.report import Report
from argus_ray.schemas.annotation import Kind

_NOT_XML = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_INPUT = {"select": "select", "number": "number", "text": "text", "checkbox": "checkbox"}


def picture_path(picture: Picture) -> str:
    return f"{picture.video}/images/frame_{picture.index:06d}.jpg"


def write(contents: Contents, out: ZipWriter, report: Report) -> None:
    clips = {clip.name: clip for clip in contents.clips}
    labels = {one.name: one for one in contents.categories}
    for name, frames in groupby(contents.frames(), key=lambda frame: frame.picture.video):
        clip = clips[name]
        with ByTrack(clip.tracks + 1) as seen:
            for frame in frames:
                drawn = [
                    _drawable(one, frame.picture, report, keyframes=contents.has_all_keyframes)
                    for one in losses.told(frame, "cvat-video", report)
                    if not pixels.is_lost(one, frame.picture, report)
                ]
                seen.add(frame, [one for one in drawn if one.kind is not Kind.MASK])
                seen.add(frame, [one for one in drawn if one.kind is Kind.MASK], apart=True)
                seen.next_frame()
            with out.open(f"{name}/annotations.xml") as file:
                for piece in _document(contents, clip, seen, labels, report):
                    file.write(piece.encode())


def _drawable(instance: Instance, picture: Picture, report: Report, *, keyframes: bool) -> Instance:
    """As CVAT can have it: its polygons have neither holes nor parts, and it interpolates from keyframes alone.

    Where not all keyframes are in the pictures, each shape has to be one.
    """
    keyframe = instance.keyframe or not keyframes
    if instance.polygon is not None and (len(instance.polygon) > 1 or len(instance.polygon[0]) > 1):
        report.once(
            "polygon-as-mask", "CVAT polygons have neither holes nor parts: such a polygon is written as a mask"
        )
        mask = pixels.outline(instance, picture)
        return replace(instance, kind=Kind.MASK, polygon=None, mask=mask, keyframe=keyframe)
    return replace(instance, keyframe=keyframe)


def _document(
    contents: Contents, clip: Clip, seen: ByTrack, labels: Mapping[str, Category], report: Report
) -> Iterator[str]:
    yield f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n{_meta(contents, clip, seen.frames)}'
    for track, made, shapes in seen.tracks():
        if made:
            report.once(
                "tracks-made", "CVAT for video has only tracks: what belongs to none, and each mask, is one of its own"
            )
        yield from _track(track, shapes, seen.frames, labels, report, alone=made)
    yield "</annotations>\n"


def _meta(contents: Contents, clip: Clip, frames: int) -> str:
    labels = "".join(
        f"        <label>\n          <name>{text(one.name)}</name>\n          <color>{text(one.colour)}</color>\n"
        f"          <attributes>\n{''.join(map(_attribute, one.attributes))}          </attributes>\n        </label>\n"
        for one in contents.categories
    )
    return (
        f"  <meta>\n    <task>\n      <name>{text(clip.name)}</name>\n      <size>{frames}</size>\n"
        f"      <mode>interpolation</mode>\n      <start_frame>0</start_frame>\n      <stop_frame>{max(frames - 1, 0)}</stop_frame>\n"
        f"      <subset>{text(clip.split)}</subset>\n      <labels>\n{labels}      </labels>\n      <original_size>\n"
        f"        <width>{clip.width}</width>\n        <height>{clip.height}</height>\n      </original_size>\n    </task>\n"
        f"    <source>{text(clip.name)}</source>\n  </meta>\n"
    )


def _attribute(one: Mapping[str, Any]) -> str:
    kind = _INPUT.get(str(one.get("kind")), "text")
    if kind == "number":
        low, high = one.get("min"), one.get("max")
        values = [str(0 if low is None else low), str(1_000_000 if high is None else high), "1"]
    elif kind == "checkbox":
        values = ["false"]
    else:
        values = [str(value) for value in one.get("values", ())]
    default = value_text(one["default"]) if one.get("default") is not None else (values or [""])[0]
    return (
        f"            <attribute>\n              <name>{text(one['name'])}</name>\n"
        f"              <mutable>{bool(one.get('per_frame'))}</mutable>\n              <input_type>{kind}</input_type>\n"
        f"              <default_value>{text(default)}</default_value>\n"
        f"              <values>{text(chr(10).join(values))}</values>\n            </attribute>\n"
    )


def _track(
    track: int,
    shapes: Iterator[tuple[int, Picture, Instance]],
    frames: int,
    labels: Mapping[str, Category],
    report: Report,
    *,
    alone: bool,
) -> Iterator[str]:
    before: tuple[int, Instance, str] | None = None  # its place, and its shape as it was written
    for place, picture, instance in shapes:
        if before is None:
            group = f' group_id="{instance.track}"' if alone and instance.track is not None else ""
            source = "auto" if instance.source == "model" else "manual"
            yield f'  <track id="{track}" label={quoted(instance.label)} source="{source}"{group}>\n'
        elif before[0] + 1 < place and not before[1].outside:
            yield _at(before[0] + 1, before[1], before[2], outside=True)
        before = place, instance, _shape(picture, instance, labels, report)
        yield _at(*before, outside=instance.outside)
    assert before is not None
    if before[0] + 1 < frames and not before[1].outside:
        yield _at(before[0] + 1, before[1], before[2], outside=True)
    yield "  </track>\n"


def _at(place: int, instance: Instance, shape: str, *, outside: bool) -> str:
    """The shape at a frame."""
    keyframe = int(instance.keyframe or outside)
    return shape.format(f'frame="{place}" keyframe="{keyframe}" outside="{int(outside)}"')


def _shape(picture: Picture, instance: Instance, labels: Mapping[str, Category], report: Report) -> str:
    """The element, with a place for what `_at` adds."""
    tag, where = _geometry(instance, picture)
    declared = {str(one["name"]) for one in labels[instance.label].attributes}
    attributes = []
    for name, value in instance.attributes.items():
        if name in declared:
            attributes.append(f"      <attribute name={quoted(name)}>{text(value_text(value))}</attribute>\n")
        else:
            report.once(
                "undeclared-attributes", "CVAT has only the attributes that a label declares: others are left out"
            )
    inner = "".join(attributes).replace("{", "{{").replace("}", "}}")
    return f'    <{tag} {{}} occluded="{int(instance.occluded)}" {where} z_order="0">\n{inner}    </{tag}>\n'


def _geometry(instance: Instance, picture: Picture) -> tuple[str, str]:
    """Element and attributes of a shape, in pixels."""
    width, height = picture.width, picture.height
    assert instance.box is not None
    if instance.kind is Kind.POLYGON and instance.polygon is not None:
        return "polygon", f'points="{_points(instance.polygon[0][0], width, height)}"'
    if instance.kind is Kind.POINTS and instance.points is not None:
        return "points", f'points="{_points(instance.points, width, height)}"'
    mask = instance.mask_at(height, width)
    if mask is not None:
        left, top, w, h = rle.bbox(mask)
        runs = ", ".join(map(str, row_runs(rle.decode(mask)[top : top + h, left : left + w])))
        return "mask", f'rle="{runs}" left="{left}" top="{top}" width="{w}" height="{h}"'
    x, y, box_width, box_height = pixels.box_px(instance.box, picture)
    return "box", f'xtl="{x:.10g}" ytl="{y:.10g}" xbr="{x + box_width:.10g}" ybr="{y + box_height:.10g}"'


def row_runs(mask: Any) -> list[int]:
    """Lengths of runs along the rows, zeros first."""
    flat = np.concatenate([[False], mask.ravel()]).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat))
    bounds = [0, *edges.tolist(), mask.size]
    return [stop - start for start, stop in pairwise(bounds)]


def _points(points: Sequence[tuple[float, float]], width: int, height: int) -> str:
    return ";".join(f"{x * width:.10g},{y * height:.10g}" for x, y in points)


def value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def text(value: str) -> str:
    """Text between elements; what XML cannot hold is a replacement character."""
    return escape(_NOT_XML.sub("\ufffd", value))


def quoted(value: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", value))
