"""What can go wrong, in the words of the person who can act on it.

One error is three things: a problem to an HTTP client (RFC 9457), a reason on a video or job, and a line in a terminal.
`type` is stable and part of the API; `status` is the HTTP status of the problem. An error takes one positional argument,
so that it survives pickling between Ray processes; what a program may want to read goes into keyword arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class ArgusError(Exception):
    """Base of everything Argus raises on purpose. Says what, the value, and what to do."""

    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong inside Argus"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detail, self.facts)

    def reason(self) -> dict[str, Any]:
        """The form in which it is kept on a row: type and sentence, and the facts beside them."""
        return {"type": self.type, "detail": self.detail, **({"facts": self.facts} if self.facts else {})}


def kinds(base: type[ArgusError] = ArgusError) -> Iterator[type[ArgusError]]:
    """Every kind of error, the general before the special."""
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def _rebuild(kind: type[ArgusError], detail: str, facts: dict[str, Any]) -> ArgusError:
    return kind(detail, **facts)


# -- the caller's request ------------------------------------------------------------------------


class InvalidRequest(ArgusError):
    type, title, status = "invalid-request", "The request cannot be read", 422


class Unauthenticated(ArgusError):
    type, title, status = "unauthenticated", "Sign in first", 401


class Forbidden(ArgusError):
    type, title, status = "forbidden", "Your role does not allow this", 403


class NotFound(ArgusError):
    type, title, status = "not-found", "There is no such thing, or it is not yours", 404


class Conflict(ArgusError):
    type, title, status = "conflict", "The state of things does not allow this", 409


class PreconditionFailed(ArgusError):
    type, title, status = "precondition-failed", "It has changed since you read it", 412


class PreconditionRequired(ArgusError):
    type, title, status = "precondition-required", "Send If-Match with the ETag you read", 428


class TooLarge(ArgusError):
    type, title, status = "too-large", "The request is larger than the limit", 413


class UnsupportedMediaType(ArgusError):
    type, title, status = "unsupported-media-type", "The body is not of a type that is read here", 415


class MethodNotAllowed(ArgusError):
    type, title, status = "method-not-allowed", "This address does not take that method", 405


class TooManyRequests(ArgusError):
    type, title, status = "too-many-requests", "Come back a little later", 429


class Unavailable(ArgusError):
    type, title, status = "unavailable", "Something that Argus needs is down", 503


# -- uploads -------------------------------------------------------------------------------------


class UploadIncomplete(ArgusError):
    type, title, status = "upload-incomplete", "The bytes have not all arrived", 409


class UploadMismatch(ArgusError):
    type, title, status = "upload-mismatch", "What arrived is not what was announced", 422


class UploadExpired(ArgusError):
    type, title, status = "upload-expired", "The upload has expired", 409


# -- videos --------------------------------------------------------------------------------------


class VideoError(ArgusError):
    """The file is at fault: no retry helps, and the video fails with this as its reason."""

    type, title, status = "video-unreadable", "The video cannot be read", 422


class NotAVideo(VideoError):
    type, title = "not-a-video", "The file is not a video"


class NoVideoStream(VideoError):
    type, title = "no-video-stream", "The file has no video stream"


class VideoTooLong(VideoError):
    type, title = "video-too-long", "The video is longer than the limit"


class VideoTooLarge(VideoError):
    type, title = "video-too-large", "The video has more bytes, pixels or frames than the limit"


class VideoEncrypted(VideoError):
    type, title = "video-encrypted", "The video is encrypted"


class ChecksumMismatch(VideoError):
    type, title = "checksum-mismatch", "The bytes are not those that were announced"


class DecoderCrashed(ArgusError):
    """The decoding process died. It counts as an attempt; the next one may do better."""

    type, title, status = "decoder-crashed", "The decoder crashed on this file", 422


class DecodeTimeout(ArgusError):
    type, title, status = "decode-timeout", "Decoding took longer than the limit", 422


class SourceGone(ArgusError):
    type, title, status = "source-gone", "The stored file is gone, or its link has expired", 410


class SourceChanged(ArgusError):
    type, title, status = "source-changed", "The stored file is not the one that was uploaded", 409


# -- datasets ------------------------------------------------------------------------------------


class AnnotationsUnreadable(ArgusError):
    """A file of annotations cannot be read as what it was said to be: the facts say which file, and where in it."""

    type, title, status = "annotations-unreadable", "The file of annotations cannot be read", 422


class NothingToFreeze(ArgusError):
    type, title, status = "nothing-to-freeze", "Nothing is what the dataset asks for", 422


# -- the queue -----------------------------------------------------------------------------------


class FenceLost(ArgusError):
    """Another run holds the work now: nothing was written."""

    type, title, status = "fence-lost", "Another run took the work over", 409


class JobCancelled(ArgusError):
    type, title, status = "job-cancelled", "The job was cancelled", 409


class BudgetExceeded(ArgusError):
    type, title, status = "budget-exceeded", "The project has used up its GPU-seconds of this month", 402


# -- models --------------------------------------------------------------------------------------


class ModelUnavailable(ArgusError):
    type, title, status = "model-unavailable", "The model's weights cannot be loaded", 503


class ModelUnsupported(ArgusError):
    type, title, status = "model-unsupported", "Argus cannot run this kind of model", 422


# -- the machine ---------------------------------------------------------------------------------


class ConfigurationError(ArgusError):
    """A setting or the machine is wrong; the message says which and what to do."""

    type, title, status = "configuration-error", "Argus is not set up right", 500
