"""What each format has a place for. What it has none for is said in the report of an export, once with its count."""

from __future__ import annotations

from argus_ray.datasets.records import Frame, Instance
from argus_ray.datasets.report import Report
from argus_ray.schemas.annotation import Kind

SHAPES = {
    "coco": {Kind.BOX, Kind.POLYGON, Kind.MASK},
    "coco-video": {Kind.MASK},
    "yolo-detect": {Kind.BOX},
    "yolo-segment": {Kind.POLYGON},
    "yolo-track": {Kind.BOX},
    "cvat-video": {Kind.BOX, Kind.POLYGON, Kind.MASK, Kind.POINTS},
    "mot": {Kind.BOX},
    "parquet": set(Kind),
}
FIELDS = {
    "coco": {"track", "keyframe", "occluded", "crowd", "attributes", "score", "state", "source", "model"},
    "coco-video": {"track"},
    "yolo-detect": set[str](),
    "yolo-segment": set[str](),
    "yolo-track": {"track"},
    "cvat-video": {"track", "keyframe", "occluded", "attributes"},
    "mot": {"track", "occluded", "crowd"},
    "parquet": {"track", "keyframe", "occluded", "crowd", "attributes", "score", "state", "source", "model"},
}
VERDICTS = {"parquet"}

_NAMED = {
    "track": "which object of its video it is",
    "occluded": "that it is occluded",
    "crowd": "that it is a group",
    "attributes": "its attributes",
    "score": "its score",
    "state": "whether it was accepted",
    "source": "who made it",
    "model": "the model that made it",
    "keyframe": "that it was interpolated",
}


def told(frame: Frame, format_: str, report: Report) -> list[Instance]:
    """The instances that the format draws, after what it loses of them and of the picture was said."""
    if frame.verdicts and format_ not in VERDICTS:
        report.once("verdicts-lost", f"{format_} has no place for what a person has said of a label in a picture")
    drawn = []
    for instance in frame.instances:
        if instance.kind is Kind.TAG and Kind.TAG not in SHAPES[format_]:
            report.once("tags-lost", f"{format_} has no tags of pictures: they are left out")
            continue
        if instance.kind not in SHAPES[format_]:
            report.once(
                f"{instance.kind}-as-other", f"{format_} has no {instance.kind}: what stands nearest to it is written"
            )
        for name, meaning in _NAMED.items():
            if name not in FIELDS[format_] and _says(instance, name):
                report.once(f"{name}-lost", f"{format_} has no place for an annotation's {name}: {meaning}")
        drawn.append(instance)
    return drawn


def _says(instance: Instance, name: str) -> bool:
    value = getattr(instance, name)
    if name == "keyframe":
        return instance.track is not None and not value
    return value is not None and value is not False and value not in ("", {})
