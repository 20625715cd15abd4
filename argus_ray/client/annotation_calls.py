"""Labels, annotations, tracks, verdicts and review: every route as a function that describes its call.

What has a version is changed by handing in what was read: somebody else's change meanwhile raises PreconditionFailed, and
`current` among the error's facts is what it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from argus_ray.client.call import Call, Pages
from argus_ray.client.calls import NOTHING, Id, checked_id, once, pages
from argus_ray.schemas.annotation import (
    Accept,
    Annotation,
    AnnotationCreate,
    AnnotationFilter,
    AnnotationsCreate,
    AnnotationsCreated,
    AnnotationUpdate,
    HistoryEntry,
    Pieces,
    Reject,
    Restore,
    Reviewed,
    State,
    Track,
    TrackCreate,
    TrackEnd,
    TrackLink,
    TrackMerge,
    TrackRetrack,
    TrackSplit,
    TrackUpdate,
    Window,
    Word,
)
from argus_ray.schemas.job import Job
from argus_ray.schemas.label import Label, LabelCreate, LabelMerge, LabelUpdate
from argus_ray.schemas.review import (
    AutoAccepted,
    AutoAcceptRequest,
    Released,
    ReviewAccept,
    ReviewAssign,
    ReviewDone,
    ReviewItem,
    ReviewItems,
    ReviewNext,
    ReviewQueue,
    ReviewReject,
    ReviewRelease,
    Thresholds,
    ThresholdsLearn,
)
from argus_ray.schemas.verdict import FrameVerdicts, Verdict, VerdictPut, VerdictsGiven, VerdictsPut


def _ids(given: Sequence[Id] | None) -> list[str] | None:
    return None if given is None else [checked_id(one) for one in given]


def _states(given: Sequence[State] | None) -> list[str] | None:
    return None if given is None else [State(one).value for one in given]


class Labels:
    @staticmethod
    def list(project_id: Id, *, name: str | None = None, archived: bool = False) -> Pages[Label]:
        """Newest first; `name` is a part of one of its names."""
        return pages(Label, f"/v1/projects/{checked_id(project_id)}/labels", name=name, archived=archived)

    @staticmethod
    def create(project_id: Id, new: LabelCreate) -> Call[Label]:
        path = f"/v1/projects/{checked_id(project_id)}/labels"
        return Call("POST", path, TypeAdapter(Label), json=new, idempotency_key=once())

    @staticmethod
    def get(label_id: Id) -> Call[Label]:
        return Call("GET", f"/v1/labels/{checked_id(label_id)}", TypeAdapter(Label))

    @staticmethod
    def update(label: Label, change: LabelUpdate) -> Call[Label]:
        return Call("PATCH", f"/v1/labels/{label.id}", TypeAdapter(Label), json=change, if_match=label.version)

    @staticmethod
    def archive(label_id: Id) -> Call[Label]:
        path = f"/v1/labels/{checked_id(label_id)}:archive"
        return Call("POST", path, TypeAdapter(Label), idempotency_key=once())

    @staticmethod
    def unarchive(label_id: Id) -> Call[Label]:
        path = f"/v1/labels/{checked_id(label_id)}:unarchive"
        return Call("POST", path, TypeAdapter(Label), idempotency_key=once())

    @staticmethod
    def merge(label_id: Id, into: Id) -> Call[Label]:
        """The label that has both now."""
        path, merge = f"/v1/labels/{checked_id(label_id)}:merge", LabelMerge(into=UUID(checked_id(into)))
        return Call("POST", path, TypeAdapter(Label), json=merge, idempotency_key=once())

    @staticmethod
    def history(label_id: Id) -> Pages[HistoryEntry]:
        return pages(HistoryEntry, f"/v1/labels/{checked_id(label_id)}/history")

    @staticmethod
    def restore(label_id: Id, version: int) -> Call[Label]:
        path = f"/v1/labels/{checked_id(label_id)}:restore"
        return Call("POST", path, TypeAdapter(Label), json=Restore(version=version), idempotency_key=once())


class Annotations:
    @staticmethod
    def create(project_id: Id, annotations: Sequence[AnnotationCreate]) -> Call[AnnotationsCreated]:
        """Up to a thousand at once: all of them are kept, or none."""
        path = f"/v1/projects/{checked_id(project_id)}/annotations"
        new = AnnotationsCreate(annotations=[*annotations])
        return Call("POST", path, TypeAdapter(AnnotationsCreated), json=new, idempotency_key=once())

    @staticmethod
    def window(
        video_id: Id,
        *,
        from_us: int | None = None,
        to_us: int | None = None,
        at_us: int | None = None,
        label_ids: Sequence[Id] | None = None,
        states: Sequence[State] | None = None,
        track_ids: Sequence[Id] | None = None,
        interpolate: bool | None = None,
        limit: int = 10_000,
    ) -> Call[Window]:
        """What is annotated in a window of time, with its tracks: the first `limit` of it."""
        return Call(
            "GET",
            f"/v1/videos/{checked_id(video_id)}/annotations",
            TypeAdapter(Window),
            params={
                "from_us": from_us,
                "to_us": to_us,
                "at_us": at_us,
                "label_id": _ids(label_ids),
                "state": _states(states),
                "track_id": _ids(track_ids),
                "interpolate": interpolate,
                "limit": limit,
            },
        )

    @staticmethod
    def list(
        video_id: Id,
        *,
        from_us: int | None = None,
        to_us: int | None = None,
        label_ids: Sequence[Id] | None = None,
        states: Sequence[State] | None = None,
        track_ids: Sequence[Id] | None = None,
        interpolate: bool | None = None,
    ) -> Pages[Annotation]:
        """Every annotation of a video or of a window of it, by time."""
        return pages(
            Annotation,
            f"/v1/videos/{checked_id(video_id)}/annotations",
            from_us=from_us,
            to_us=to_us,
            label_id=_ids(label_ids),
            state=_states(states),
            track_id=_ids(track_ids),
            interpolate=interpolate,
            limit=10_000,
        )

    @staticmethod
    def get(annotation_id: Id) -> Call[Annotation]:
        return Call("GET", f"/v1/annotations/{checked_id(annotation_id)}", TypeAdapter(Annotation))

    @staticmethod
    def update(annotation: Annotation, change: AnnotationUpdate) -> Call[Annotation]:
        path = f"/v1/annotations/{annotation.id}"
        return Call("PATCH", path, TypeAdapter(Annotation), json=change, if_match=annotation.version)

    @staticmethod
    def delete(annotation: Annotation) -> Call[None]:
        return Call("DELETE", f"/v1/annotations/{annotation.id}", NOTHING, if_match=annotation.version)

    @staticmethod
    def history(annotation_id: Id) -> Pages[HistoryEntry]:
        return pages(HistoryEntry, f"/v1/annotations/{checked_id(annotation_id)}/history")

    @staticmethod
    def restore(annotation_id: Id, version: int) -> Call[Annotation]:
        path = f"/v1/annotations/{checked_id(annotation_id)}:restore"
        return Call("POST", path, TypeAdapter(Annotation), json=Restore(version=version), idempotency_key=once())

    @staticmethod
    def accept(project_id: Id, which: AnnotationFilter) -> Call[Reviewed]:
        """All that is proposed and the filter lets through; how many."""
        path = f"/v1/projects/{checked_id(project_id)}/annotations:accept"
        return Call("POST", path, TypeAdapter(Reviewed), json=Accept(filter=which), idempotency_key=once())

    @staticmethod
    def reject(project_id: Id, which: AnnotationFilter, reason: str) -> Call[Reviewed]:
        path = f"/v1/projects/{checked_id(project_id)}/annotations:reject"
        asked = Reject(filter=which, reason=reason)
        return Call("POST", path, TypeAdapter(Reviewed), json=asked, idempotency_key=once())

    @staticmethod
    def auto_accept(project_id: Id, asked: AutoAcceptRequest) -> Call[AutoAccepted]:
        path = f"/v1/projects/{checked_id(project_id)}/annotations:auto-accept"
        return Call("POST", path, TypeAdapter(AutoAccepted), json=asked, idempotency_key=once())


class Tracks:
    @staticmethod
    def list(
        video_id: Id,
        *,
        from_us: int | None = None,
        to_us: int | None = None,
        label_ids: Sequence[Id] | None = None,
        states: Sequence[State] | None = None,
    ) -> Pages[Track]:
        """By number; with times, those that are there at some time of the window."""
        return pages(
            Track,
            f"/v1/videos/{checked_id(video_id)}/tracks",
            from_us=from_us,
            to_us=to_us,
            label_id=_ids(label_ids),
            state=_states(states),
        )

    @staticmethod
    def create(video_id: Id, new: TrackCreate) -> Call[Track]:
        path = f"/v1/videos/{checked_id(video_id)}/tracks"
        return Call("POST", path, TypeAdapter(Track), json=new, idempotency_key=once())

    @staticmethod
    def get(track_id: Id) -> Call[Track]:
        return Call("GET", f"/v1/tracks/{checked_id(track_id)}", TypeAdapter(Track))

    @staticmethod
    def update(track: Track, change: TrackUpdate) -> Call[Track]:
        return Call("PATCH", f"/v1/tracks/{track.id}", TypeAdapter(Track), json=change, if_match=track.version)

    @staticmethod
    def delete(track: Track) -> Call[None]:
        return Call("DELETE", f"/v1/tracks/{track.id}", NOTHING, if_match=track.version)

    @staticmethod
    def split(track_id: Id, at_us: int) -> Call[Pieces]:
        return _of_track(track_id, "split", TrackSplit(at_us=at_us), Pieces)

    @staticmethod
    def merge(track_id: Id, other_id: Id) -> Call[Track]:
        return _of_track(track_id, "merge", TrackMerge(track_id=UUID(checked_id(other_id))), Track)

    @staticmethod
    def end(track_id: Id, at_us: int) -> Call[Track]:
        """Delete it from this time on."""
        return _of_track(track_id, "end", TrackEnd(at_us=at_us), Track)

    @staticmethod
    def retrack(track_id: Id, pts_us: int) -> Call[Job]:
        """Follow it again from a corrected keyframe, both ways, as far as the next keyframe that a person made."""
        return _of_track(track_id, "retrack", TrackRetrack(pts_us=pts_us), Job)

    @staticmethod
    def history(track_id: Id) -> Pages[HistoryEntry]:
        return pages(HistoryEntry, f"/v1/tracks/{checked_id(track_id)}/history")

    @staticmethod
    def restore(track_id: Id, version: int) -> Call[Track]:
        return _of_track(track_id, "restore", Restore(version=version), Track)

    @staticmethod
    def links(track_id: Id) -> Pages[TrackLink]:
        return pages(TrackLink, f"/v1/tracks/{checked_id(track_id)}/links")

    @staticmethod
    def cut(link_id: Id) -> Call[TrackLink]:
        path = f"/v1/track-links/{checked_id(link_id)}:cut"
        return Call("POST", path, TypeAdapter(TrackLink), idempotency_key=once())

    @staticmethod
    def join(link_id: Id) -> Call[TrackLink]:
        path = f"/v1/track-links/{checked_id(link_id)}:join"
        return Call("POST", path, TypeAdapter(TrackLink), idempotency_key=once())


def _of_track(track_id: Id, verb: str, asked: Any, answer: type[Any]) -> Call[Any]:
    path = f"/v1/tracks/{checked_id(track_id)}:{verb}"
    return Call("POST", path, TypeAdapter(answer), json=asked, idempotency_key=once())


class Verdicts:
    @staticmethod
    def list(
        project_id: Id, *, video_id: Id | None = None, label_id: Id | None = None, verdict: Word | None = None
    ) -> Pages[Verdict]:
        return pages(
            Verdict,
            f"/v1/projects/{checked_id(project_id)}/verdicts",
            video_id=checked_id(video_id) if video_id else None,
            label_id=checked_id(label_id) if label_id else None,
            verdict=verdict.value if verdict else None,
        )

    @staticmethod
    def of_frame(frame_id: Id) -> Call[FrameVerdicts]:
        """People's word on a frame's labels, and apart from it what models answered."""
        return Call("GET", f"/v1/frames/{checked_id(frame_id)}/verdicts", TypeAdapter(FrameVerdicts))

    @staticmethod
    def put(frame_id: Id, label_id: Id, verdict: Word) -> Call[Verdict]:
        path = f"/v1/frames/{checked_id(frame_id)}/verdicts/{checked_id(label_id)}"
        return Call("PUT", path, TypeAdapter(Verdict), json=VerdictPut(verdict=verdict))

    @staticmethod
    def put_many(project_id: Id, said: VerdictsPut) -> Call[VerdictsGiven]:
        path = f"/v1/projects/{checked_id(project_id)}/verdicts"
        return Call("POST", path, TypeAdapter(VerdictsGiven), json=said, idempotency_key=once())

    @staticmethod
    def delete(frame_id: Id, label_id: Id) -> Call[None]:
        return Call("DELETE", f"/v1/frames/{checked_id(frame_id)}/verdicts/{checked_id(label_id)}", NOTHING)


class Review:
    @staticmethod
    def next(project_id: Id, asked: ReviewNext) -> Call[ReviewItems]:
        """Take what to look at next; nobody else gets it meanwhile."""
        return _review(project_id, "review:next", asked, ReviewItems)

    @staticmethod
    def assign(project_id: Id, asked: ReviewAssign) -> Call[ReviewItems]:
        return _review(project_id, "review:assign", asked, ReviewItems)

    @staticmethod
    def release(project_id: Id, asked: ReviewRelease) -> Call[Released]:
        return _review(project_id, "review:release", asked, Released)

    @staticmethod
    def accept(project_id: Id, asked: ReviewAccept) -> Call[ReviewDone]:
        return _review(project_id, "review:accept", asked, ReviewDone)

    @staticmethod
    def reject(project_id: Id, asked: ReviewReject) -> Call[ReviewDone]:
        return _review(project_id, "review:reject", asked, ReviewDone)

    @staticmethod
    def queue(project_id: Id, *, show: str | None = None) -> Call[ReviewQueue]:
        """How far the project is, with the first page of items; `list` has all of them."""
        path = f"/v1/projects/{checked_id(project_id)}/review"
        return Call("GET", path, TypeAdapter(ReviewQueue), params={"show": show})

    @staticmethod
    def list(project_id: Id, *, show: str | None = None) -> Pages[ReviewItem]:
        return pages(ReviewItem, f"/v1/projects/{checked_id(project_id)}/review", show=show)

    @staticmethod
    def thresholds(project_id: Id) -> Call[Thresholds]:
        return Call("GET", f"/v1/projects/{checked_id(project_id)}/thresholds", TypeAdapter(Thresholds))

    @staticmethod
    def learn(project_id: Id, asked: ThresholdsLearn) -> Call[Thresholds]:
        return _review(project_id, "thresholds:learn", asked, Thresholds)


def _review(project_id: Id, what: str, asked: Any, answer: type[Any]) -> Call[Any]:
    path = f"/v1/projects/{checked_id(project_id)}/{what}"
    return Call("POST", path, TypeAdapter(answer), json=asked, idempotency_key=once())
