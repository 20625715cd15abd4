"""Requests about what a flow has made (tests/flow.py), for whoever may not make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.flow import Flow


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    body: Any = None
    annotates: bool = False
    """Whether an annotator may do it."""


def everything_asked(gone: Flow) -> list[Asked]:
    """Something of each route that takes what the flow has made."""
    assert gone.version is not None
    project, video = f"/v1/projects/{gone.project}", gone.videos[0]
    one, followed = gone.corrected["redrawn"], gone.tracks["retracked"]
    frame, label, job = gone.frames[video.id][0], gone.labels[0], gone.jobs["coco"]
    annotation, tracked = f"/v1/annotations/{one.id}", f"/v1/tracks/{followed.id}"
    dataset, version = f"/v1/datasets/{gone.version.dataset_id}", f"/v1/dataset-versions/{gone.version.id}"
    asks = [{"label_id": str(label.id)}]
    item = {"video_id": str(video.id), "pts_us": 0}
    shape = {"box": {"x": 0.1, "y": 0.1, "w": 0.1, "h": 0.1}}
    verdict = f"/v1/frames/{frame.id}/verdicts/{gone.labels[-1].id}"
    reads = (
        annotation, f"{annotation}/history", tracked, f"{tracked}/history", f"{tracked}/links", dataset, f"{dataset}/versions",
        version, f"{version}/diff?to={gone.version.id}", f"/v1/frames/{frame.id}", f"/v1/frames/{frame.id}/overlay.png",
        f"/v1/frames/{frame.id}/verdicts", f"/v1/jobs/{job.id}", f"/v1/jobs/{job.id}/download", f"/v1/labels/{label.id}",
        f"/v1/labels/{label.id}/history", f"/v1/videos/{video.id}/annotations", f"/v1/videos/{video.id}/tracks",
        f"{project}/datasets", f"{project}/jobs", f"{project}/labels", f"{project}/review", f"{project}/thresholds", f"{project}/verdicts",
    )  # fmt: skip
    return [
        *(Asked("GET", path) for path in reads),
        Asked("POST", f"{project}/annotations", {"annotations": [{**item, "label_id": str(label.id), **shape}]}, True),
        Asked("POST", f"{project}/annotations:accept", {"filter": {"state": ["rejected"]}}, True),
        Asked("POST", f"{project}/annotations:reject", {"filter": {"state": ["accepted"]}, "reason": "wrong"}, True),
        Asked("POST", f"{project}/review:next", {}, True),
        Asked("POST", f"{project}/review:accept", {"item": item}, True),
        Asked("POST", f"{project}/review:reject", {"item": item, "reason": "wrong"}, True),
        Asked("POST", f"{project}/review:release", {"items": [item]}, True),
        Asked("POST", f"{project}/verdicts", {"target": {}, "label_id": str(label.id), "verdict": "partial"}, True),
        Asked("PATCH", annotation, shape, True),
        Asked("DELETE", annotation, None, True),
        Asked("POST", f"{annotation}:restore", {"version": 1}, True),
        Asked("PATCH", tracked, {"state": "proposed"}, True),
        Asked("DELETE", tracked, None, True),
        Asked("POST", f"{tracked}:split", {"at_us": followed.end_us}, True),
        Asked("POST", f"{tracked}:end", {"at_us": followed.end_us}, True),
        Asked("POST", f"{tracked}:merge", {"track_id": str(followed.id)}, True),
        Asked("POST", f"{tracked}:restore", {"version": 1}, True),
        Asked("POST", f"/v1/videos/{video.id}/tracks", {"label_id": str(label.id), "keyframes": [{"pts_us": 0, **shape}]}, True),
        Asked("PUT", verdict, {"verdict": "partial"}, True),
        Asked("DELETE", verdict, None, True),
        Asked("POST", f"{tracked}:retrack", {"pts_us": gone.corrected["keyframe"].pts_us}, True),
        Asked("POST", f"{project}/labels", {"name": "another"}),
        Asked("PATCH", f"/v1/labels/{label.id}", {"name": "another"}),
        Asked("POST", f"/v1/labels/{label.id}:archive"),
        Asked("POST", f"/v1/labels/{label.id}:merge", {"into": str(gone.labels[-1].id)}),
        Asked("POST", f"{project}/jobs", {"spec": {"kind": "autolabel", "labels": asks}}),
        Asked("POST", f"{project}/jobs", {"spec": {"kind": "track", "labels": asks}}),
        Asked("POST", f"/v1/jobs/{job.id}:cancel"),
        Asked("POST", f"/v1/jobs/{job.id}:retry"),
        Asked("POST", f"{project}/thresholds:learn"),
        Asked("POST", f"{project}/annotations:auto-accept"),
        Asked("POST", f"{project}/datasets", {"name": "another"}),
        Asked("PATCH", dataset, {"name": "another"}),
        Asked("DELETE", dataset),
        Asked("POST", f"{dataset}/versions"),
        Asked("POST", f"{version}/exports", {"format": "coco"}),
        Asked("POST", f"{project}/imports", {"size_bytes": 1}),
    ]  # fmt: skip


def said(gone: Flow, name: str, asked: Sequence[Asked]) -> list[tuple[Asked, int]]:
    """The status that a person gets for each."""
    with gone.place.person(f"{name}@example.org") as client:
        return [
            (one, client.request(one.method, one.path, json=one.body, headers={"If-Match": "*"}).status_code)
            for one in asked
        ]


def what_is_not_hers(gone: Flow) -> list[Asked]:
    """The owner of the other project names what is not hers, in requests about her own."""
    assert gone.version is not None
    assert gone.other_version is not None
    other = f"/v1/projects/{gone.other}"
    video, frame, label = gone.videos[0], gone.frames[gone.videos[0].id][0], str(gone.labels[0].id)
    mine = next(one for one in gone.zoe.videos.list(gone.other) if [*gone.zoe.tracks.list(one.id)])
    my_frame, my_track = next(iter(gone.zoe.videos.frames(mine.id))), next(iter(gone.zoe.tracks.list(mine.id)))
    my_label = str(next(iter(gone.zoe.labels.list(gone.other))).id)
    theirs, hers = ({"video_id": str(one.id), "pts_us": 0} for one in (video, mine))
    shape = {"box": {"x": 0.1, "y": 0.1, "w": 0.1, "h": 0.1}}
    track_id = str(gone.tracks["retracked"].id)
    key = f"projects/{gone.project}/imports/{gone.version.id}"
    jobs = [
        {"kind": "autolabel", "labels": [{"label_id": label}]},
        {"kind": "autolabel", "labels": [{"label_id": my_label}], "target": {"frame_ids": [str(frame.id)]}},
        {"kind": "autolabel", "labels": [{"label_id": my_label}], "target": {"filter": {"video_ids": [str(video.id)]}}},
        {"kind": "track", "labels": [{"label_id": my_label}], "target": {"filter": {"video_ids": [str(video.id)]}}},
        {"kind": "retrack", "track_id": track_id, "pts_us": gone.corrected["keyframe"].pts_us},
        {"kind": "freeze", "dataset_id": str(gone.version.dataset_id)},
        {"kind": "export", "dataset_version_id": str(gone.version.id), "format": "coco"},
        {"kind": "import", "object_key": key, "format": "coco", "dry_run": False},
        {"kind": "import", "object_key": f"projects/{gone.other}/imports/../../{key}", "format": "coco"},
    ]
    return [
        *(Asked("POST", f"{other}/jobs", {"spec": spec}) for spec in jobs),
        Asked("POST", f"{other}/annotations", {"annotations": [{**theirs, "label_id": my_label, **shape}]}),
        Asked("POST", f"{other}/annotations", {"annotations": [{**hers, "label_id": label, **shape}]}),
        Asked("POST", f"{other}/annotations", {"annotations": [{**hers, "label_id": my_label, "track_id": track_id, **shape}]}),
        Asked("POST", f"/v1/videos/{mine.id}/tracks", {"label_id": label, "keyframes": [{"pts_us": 0, **shape}]}),
        Asked("POST", f"/v1/tracks/{my_track.id}:merge", {"track_id": track_id}),
        Asked("PATCH", f"/v1/tracks/{my_track.id}", {"label_id": label}),
        Asked("POST", f"/v1/labels/{my_label}:merge", {"into": label}),
        Asked("PUT", f"/v1/frames/{my_frame.id}/verdicts/{label}", {"verdict": "partial"}),
        Asked("PUT", f"/v1/frames/{frame.id}/verdicts/{my_label}", {"verdict": "partial"}),
        Asked("POST", f"{other}/verdicts", {**theirs, "pts_us": [0], "label_id": my_label, "verdict": "partial"}),
        Asked("POST", f"{other}/review:assign", {"items": [theirs], "user_id": str(gone.zoe.me.get().user_id)}),
        Asked("POST", f"{other}/review:accept", {"item": theirs}),
        Asked("GET", f"/v1/dataset-versions/{gone.other_version.id}/diff?to={gone.version.id}"),
    ]  # fmt: skip
