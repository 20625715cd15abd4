"""Every route of the API as a function that describes its call; nothing is sent here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from argus_ray.client.call import Call, Pages
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.annotation import State
from argus_ray.schemas.common import Page
from argus_ray.schemas.concept import ConceptPreview, Predict, Prediction, Preview
from argus_ray.schemas.frame import Frame, Search, SearchAnswer
from argus_ray.schemas.job import Estimate, Job, JobCreate, JobKind, JobState, Spec
from argus_ray.schemas.project import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyCreated,
    AuditEntry,
    Me,
    Member,
    MemberInvite,
    MemberUpdate,
    MeUpdate,
    Project,
    ProjectCreate,
    ProjectUpdate,
    Role,
    SignIn,
)
from argus_ray.schemas.video import (
    CompletedPart,
    CompleteUpload,
    Media,
    Part,
    PartRequest,
    Reingest,
    SamplingPolicy,
    Upload,
    UploadedPart,
    Video,
    VideoCreate,
    VideoCreated,
    VideoImport,
    VideoState,
    VideoUpdate,
)

Answer = TypeVar("Answer")
Row = TypeVar("Row", bound=BaseModel)
Id = UUID | str

NOTHING: TypeAdapter[None] = TypeAdapter(type(None))
PNG = "image/png"
MODEL_TIMEOUT_S = 180.0
"""The first question after a quiet time waits for a process and its weights."""


def pages(row: type[Row], path: str, **params: Any) -> Pages[Row]:
    return Pages(Call("GET", path, TypeAdapter(Page[row]), params=params))  # type: ignore[valid-type]  # a type at run time


def once() -> str:
    """An idempotency key, so that a call may be sent again and happens once."""
    return secrets.token_urlsafe(24)


def checked_id(given: Id) -> str:
    """An id for a path or a query. Raises InvalidRequest for what is none, so that it never becomes another address."""
    try:
        return str(given if isinstance(given, UUID) else UUID(given))
    except (ValueError, AttributeError, TypeError):
        raise InvalidRequest(f"{given!r} is not an id: it looks like 0198c2f4-6f3e-7a1b-9d55-3c0f8a7e2b64") from None


def one_or_more(states: str | Iterable[str] | None) -> list[str] | None:
    """A state is a string, which is a sequence itself."""
    if states is None:
        return None
    return [str(states)] if isinstance(states, str) else [str(state) for state in states]


class Projects:
    @staticmethod
    def list() -> Pages[Project]:
        return pages(Project, "/v1/projects")

    @staticmethod
    def create(name: str) -> Call[Project]:
        return Call("POST", "/v1/projects", TypeAdapter(Project), json=ProjectCreate(name=name), idempotency_key=once())

    @staticmethod
    def get(project_id: Id) -> Call[Project]:
        return Call("GET", f"/v1/projects/{checked_id(project_id)}", TypeAdapter(Project))

    @staticmethod
    def update(project: Project, change: ProjectUpdate) -> Call[Project]:
        return Call("PATCH", f"/v1/projects/{project.id}", TypeAdapter(Project), json=change, if_match=project.version)

    @staticmethod
    def delete(project: Project) -> Call[None]:
        return Call("DELETE", f"/v1/projects/{project.id}", NOTHING, if_match=project.version)

    @staticmethod
    def audit(project_id: Id) -> Pages[AuditEntry]:
        return pages(AuditEntry, f"/v1/projects/{checked_id(project_id)}/audit")


class Members:
    @staticmethod
    def list(project_id: Id) -> Pages[Member]:
        return pages(Member, f"/v1/projects/{checked_id(project_id)}/members")

    @staticmethod
    def invite(project_id: Id, email: str, role: Role) -> Call[Member]:
        return Call(
            "POST",
            f"/v1/projects/{checked_id(project_id)}/members",
            TypeAdapter(Member),
            json=MemberInvite(email=email, role=role),
            idempotency_key=once(),
        )

    @staticmethod
    def get(project_id: Id, member_id: Id) -> Call[Member]:
        return Call(
            "GET", f"/v1/projects/{checked_id(project_id)}/members/{checked_id(member_id)}", TypeAdapter(Member)
        )

    @staticmethod
    def change_role(member: Member, role: Role) -> Call[Member]:
        return Call(
            "PATCH",
            f"/v1/projects/{member.project_id}/members/{member.id}",
            TypeAdapter(Member),
            json=MemberUpdate(role=role),
            if_match=member.version,
        )

    @staticmethod
    def remove(project_id: Id, member_id: Id) -> Call[None]:
        return Call("DELETE", f"/v1/projects/{checked_id(project_id)}/members/{checked_id(member_id)}", NOTHING)


class ApiKeys:
    @staticmethod
    def list(project_id: Id) -> Pages[ApiKey]:
        return pages(ApiKey, f"/v1/projects/{checked_id(project_id)}/api-keys")

    @staticmethod
    def create(project_id: Id, new: ApiKeyCreate) -> Call[ApiKeyCreated]:
        """The answer shows the key this once. Where it was lost on its way, the call says so: revoke the key then."""
        return Call(
            "POST",
            f"/v1/projects/{checked_id(project_id)}/api-keys",
            TypeAdapter(ApiKeyCreated),
            json=new,
            idempotency_key=once(),
        )

    @staticmethod
    def revoke(project_id: Id, key_id: Id) -> Call[None]:
        return Call("DELETE", f"/v1/projects/{checked_id(project_id)}/api-keys/{checked_id(key_id)}", NOTHING)


class Videos:
    @staticmethod
    def list(
        project_id: Id,
        *,
        state: VideoState | Sequence[VideoState] | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Pages[Video]:
        """Newest first. `name` is a part of it; `metadata` is contained in the video's."""
        return pages(
            Video,
            f"/v1/projects/{checked_id(project_id)}/videos",
            state=one_or_more(state),
            name=name,
            metadata=json.dumps(metadata) if metadata is not None else None,
            created_after=created_after.isoformat() if created_after else None,
            created_before=created_before.isoformat() if created_before else None,
        )

    @staticmethod
    def create(project_id: Id, new: VideoCreate) -> Call[VideoCreated]:
        return Call(
            "POST",
            f"/v1/projects/{checked_id(project_id)}/videos",
            TypeAdapter(VideoCreated),
            json=new,
            idempotency_key=once(),
        )

    @staticmethod
    def import_(project_id: Id, new: VideoImport) -> Call[Job]:
        return Call(
            "POST",
            f"/v1/projects/{checked_id(project_id)}/videos:import",
            TypeAdapter(Job),
            json=new,
            idempotency_key=once(),
        )

    @staticmethod
    def complete(video_id: Id, parts: Sequence[CompletedPart] | None = None) -> Call[Job]:
        return Call(
            "POST",
            f"/v1/videos/{checked_id(video_id)}/complete",
            TypeAdapter(Job),
            json=CompleteUpload(parts=[*parts]) if parts else CompleteUpload(),
            idempotency_key=once(),
        )

    @staticmethod
    def get(video_id: Id) -> Call[Video]:
        return Call("GET", f"/v1/videos/{checked_id(video_id)}", TypeAdapter(Video))

    @staticmethod
    def update(video: Video, change: VideoUpdate) -> Call[Video]:
        return Call("PATCH", f"/v1/videos/{video.id}", TypeAdapter(Video), json=change, if_match=video.version)

    @staticmethod
    def delete(video_id: Id) -> Call[None]:
        return Call("DELETE", f"/v1/videos/{checked_id(video_id)}", NOTHING)

    @staticmethod
    def reingest(video_id: Id, sampling: SamplingPolicy | None = None) -> Call[Job]:
        new = Reingest(sampling=sampling) if sampling else Reingest()
        return Call(
            "POST", f"/v1/videos/{checked_id(video_id)}:reingest", TypeAdapter(Job), json=new, idempotency_key=once()
        )

    @staticmethod
    def media(video_id: Id) -> Call[Media]:
        return Call("GET", f"/v1/videos/{checked_id(video_id)}/media", TypeAdapter(Media))

    @staticmethod
    def frames(video_id: Id, *, from_us: int | None = None, to_us: int | None = None) -> Pages[Frame]:
        return pages(Frame, f"/v1/videos/{checked_id(video_id)}/frames", from_us=from_us, to_us=to_us, limit=500)


class Uploads:
    @staticmethod
    def get(upload_id: Id) -> Call[Upload]:
        """With fresh URLs. Raises Conflict when it is completed or aborted, UploadExpired."""
        return Call("GET", f"/v1/uploads/{checked_id(upload_id)}", TypeAdapter(Upload))

    @staticmethod
    def arrived(upload_id: Id) -> Pages[UploadedPart]:
        return pages(UploadedPart, f"/v1/uploads/{checked_id(upload_id)}/parts")

    @staticmethod
    def fresh_parts(upload_id: Id, numbers: Sequence[int]) -> Call[Page[Part]]:
        return Call(
            "POST",
            f"/v1/uploads/{checked_id(upload_id)}/parts",
            TypeAdapter(Page[Part]),
            json=PartRequest(numbers=[*numbers]),
            reads=True,
        )

    @staticmethod
    def abort(upload_id: Id) -> Call[None]:
        return Call("DELETE", f"/v1/uploads/{checked_id(upload_id)}", NOTHING)


class Frames:
    @staticmethod
    def get(frame_id: Id) -> Call[Frame]:
        return Call("GET", f"/v1/frames/{checked_id(frame_id)}", TypeAdapter(Frame))

    @staticmethod
    def overlay(
        frame_id: Id,
        *,
        states: Sequence[State] | None = None,
        label_ids: Sequence[Id] | None = None,
        job_id: Id | None = None,
        colour_by: Literal["label", "track"] = "label",
        width: int | None = None,
    ) -> Call[bytes]:
        """A PNG of the frame with what is annotated on it, at most `width` pixels wide."""
        return Call(
            "GET",
            f"/v1/frames/{checked_id(frame_id)}/overlay.png",
            TypeAdapter(bytes),
            params={
                "state": one_or_more(states),
                "label_id": [checked_id(one) for one in label_ids] if label_ids else None,
                "job_id": checked_id(job_id) if job_id else None,
                "colour_by": colour_by,
                "width": width,
            },
            accept=PNG,
        )

    @staticmethod
    def predict(frame_id: Id, asked: Predict | str) -> Call[Prediction]:
        """`asked` is a phrase, or a whole Predict with boxes, points or a label. What saves is not sent twice."""
        whole = Predict(text=asked) if isinstance(asked, str) else asked
        return Call(
            "POST",
            f"/v1/frames/{checked_id(frame_id)}:predict",
            TypeAdapter(Prediction),
            json=whole,
            reads=not whole.save,
            timeout_s=MODEL_TIMEOUT_S,
        )


class Concepts:
    @staticmethod
    def preview(project_id: Id, asked: ConceptPreview) -> Call[Preview]:
        return _preview(project_id, asked, TypeAdapter(Preview))

    @staticmethod
    def preview_sheet(project_id: Id, asked: ConceptPreview) -> Call[bytes]:
        """The same as a sheet to look at: a PNG."""
        return _preview(project_id, asked, TypeAdapter(bytes), PNG)


def _preview(
    project_id: Id, asked: ConceptPreview, answer: TypeAdapter[Answer], accept: str | None = None
) -> Call[Answer]:
    path = f"/v1/projects/{checked_id(project_id)}/concepts:preview"
    return Call("POST", path, answer, json=asked, accept=accept, reads=True, timeout_s=MODEL_TIMEOUT_S)


class Jobs:
    @staticmethod
    def list(
        project_id: Id,
        *,
        kind: JobKind | None = None,
        state: JobState | Sequence[JobState] | None = None,
        video_id: Id | None = None,
    ) -> Pages[Job]:
        return pages(
            Job,
            f"/v1/projects/{checked_id(project_id)}/jobs",
            kind=str(kind) if kind else None,
            state=one_or_more(state),
            video_id=checked_id(video_id) if video_id else None,
        )

    @staticmethod
    def get(job_id: Id, *, wait_s: int = 0) -> Call[Job]:
        """With `wait_s` up to 60 the answer comes when the job has ended, or after that time. Who waits is patient: it is
        tried for some two minutes before Argus counts as gone.
        """
        path, answer = f"/v1/jobs/{checked_id(job_id)}", TypeAdapter(Job)
        if not wait_s:
            return Call("GET", path, answer)
        return Call("GET", path, answer, params={"wait": wait_s}, timeout_s=wait_s + 30.0, tries=20)

    @staticmethod
    def create(project_id: Id, spec: Spec, *, priority: int = 0) -> Call[Job]:
        """Ask for work; its `estimate` says what it is thought to take. Raises BudgetExceeded."""
        path = f"/v1/projects/{checked_id(project_id)}/jobs"
        return Call("POST", path, TypeAdapter(Job), json=_asked(spec, priority), idempotency_key=once())

    @staticmethod
    def estimate(project_id: Id, spec: Spec) -> Call[Estimate]:
        """How many frames such a job is about, and about how many GPU-seconds it takes; nothing is queued."""
        path = f"/v1/projects/{checked_id(project_id)}/jobs:estimate"
        return Call("POST", path, TypeAdapter(Estimate), json=_asked(spec, 0), reads=True)

    @staticmethod
    def cancel(job_id: Id) -> Call[Job]:
        return Call("POST", f"/v1/jobs/{checked_id(job_id)}:cancel", TypeAdapter(Job), idempotency_key=once())

    @staticmethod
    def retry(job_id: Id) -> Call[Job]:
        return Call("POST", f"/v1/jobs/{checked_id(job_id)}:retry", TypeAdapter(Job), idempotency_key=once())


def _asked(spec: Spec, priority: int) -> JobCreate:
    """With the kind said, though it is the spec's default: it tells the server which spec it is."""
    return JobCreate(spec=spec.model_copy(update={"kind": spec.kind}), priority=priority)


class Account:
    @staticmethod
    def get() -> Call[Me]:
        return Call("GET", "/v1/me", TypeAdapter(Me))

    @staticmethod
    def update(me: Me, settings: dict[str, Any]) -> Call[Me]:
        return Call("PATCH", "/v1/me", TypeAdapter(Me), json=MeUpdate(settings=settings), if_match=me.version)


def search(project_id: Id, query: Search | str) -> Call[SearchAnswer]:
    """`query` is words, or a whole Search with pictures, frames, filters and weights."""
    asked = Search(text=query) if isinstance(query, str) else query
    return Call(
        "POST", f"/v1/projects/{checked_id(project_id)}/search", TypeAdapter(SearchAnswer), json=asked, reads=True
    )


def sign_in() -> Call[SignIn]:
    """Where people of this Argus sign in; asked without a credential."""
    return Call("GET", "/sign-in", TypeAdapter(SignIn))
