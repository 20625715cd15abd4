"""Objects: their keys, presigned URLs, multipart uploads, reads and writes.

Every key is a function of ids, so that whatever is written twice lands in the same place, and no file name of a user
ever becomes part of one. boto3 does what is rare; obstore reads ranges and writes frames, since it needs a fifth to a
seventh of the CPU for small objects; presigning is our own (presign.py). All calls are sync and thread-safe: a route
sends them to a thread, a stage makes its own S3.

Errors: NotFound where an object or upload is missing, ConfigurationError where credentials or bucket are wrong,
Unavailable where S3 does not answer, after a few retries.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import boto3
import obstore
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from argus_ray.errors import ConfigurationError, InvalidRequest, NotFound, Unavailable
from argus_ray.presign import Signer
from argus_ray.settings import Settings

MIN_PART_BYTES = 16 * 2**20
MAX_PARTS = 10_000
DELETE_BATCH = 1000
WRITERS = 16
FRAME_CACHE_CONTROL = "private, max-age=86400, immutable"

VIDEO_PREFIX = re.compile(r"projects/[0-9a-f-]{36}/videos/[0-9a-f-]{36}/")

MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
REFUSED = {"403", "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "401", "ExpiredToken"}


class Location(NamedTuple):
    """Where an object lies."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Head:
    """What S3 says of an object without sending it."""

    size_bytes: int
    etag: str
    content_type: str | None
    modified_at: datetime


@dataclass(frozen=True)
class ArrivedPart:
    """A part that S3 has. SeaweedFS lists every sending of a part that was sent again, Amazon's S3 the last one only."""

    number: int
    size_bytes: int
    etag: str
    modified_at: datetime


def video_prefix(project_id: UUID, video_id: UUID) -> str:
    """Everything of a video lies below this."""
    return f"projects/{project_id}/videos/{video_id}/"


def original_key(project_id: UUID, video_id: UUID) -> str:
    return f"{video_prefix(project_id, video_id)}original"


def frame_key(project_id: UUID, video_id: UUID, pts_us: int) -> str:
    """Twenty digits, so that a listing is in order of time; frames before zero begin with a minus and come first."""
    return f"{video_prefix(project_id, video_id)}frames/{pts_us:020d}.jpg"


def dataset_prefix(project_id: UUID, dataset_id: UUID, content_hash: str) -> str:
    """A dataset version's manifest lies below this: its contents name it, so that nothing else can take its place."""
    return f"projects/{project_id}/datasets/{dataset_id}/{content_hash}/"


def export_key(project_id: UUID, job_id: UUID) -> str:
    return f"projects/{project_id}/exports/{job_id}.zip"


def import_key(project_id: UUID, import_id: UUID) -> str:
    return f"projects/{project_id}/imports/{import_id}"


def locate(uri: str) -> Location:
    """`s3://bucket/key` taken apart. Raises InvalidRequest."""
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash or not key:
        raise InvalidRequest(f"{uri!r} does not name an object: write s3://bucket/key", uri=uri)
    return Location(bucket, key)


def part_size_bytes(size_bytes: int) -> int:
    """Bytes of each part but the last: 16 MiB, or more where that would make over 10,000 parts; whole MiB."""
    mebibyte = 2**20
    least = -(-size_bytes // MAX_PARTS)
    return max(MIN_PART_BYTES, -(-least // mebibyte) * mebibyte)


class S3:
    """One bucket for what Argus writes, and reading anywhere that the credentials reach."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.bucket
        self.sse = None if settings.sse == "none" else settings.sse
        self.storage_class = settings.storage_class
        self.region = settings.s3_region
        self.path_style = settings.s3_endpoint not in {None, "", "aws"}
        session = boto3.Session(
            aws_access_key_id=settings.secret("s3_access_key"),
            aws_secret_access_key=settings.secret("s3_secret_key"),
            region_name=settings.s3_region,
        )
        self._credentials = session.get_credentials()
        if self._credentials is None:
            raise ConfigurationError(
                "there are no S3 credentials: set ARGUS_S3_ACCESS_KEY and ARGUS_S3_SECRET_KEY, or give this machine "
                "an instance role or a profile"
            )
        self.client: Any = session.client(
            "s3",
            endpoint_url=settings.s3_endpoint if self.path_style else None,
            config=Config(
                signature_version="s3v4",
                # a request to the API waits for these with its transaction open
                connect_timeout=3,
                read_timeout=20,
                retries={"mode": "standard", "max_attempts": 3},
                max_pool_connections=WRITERS * 2,
                s3={"addressing_style": "path" if self.path_style else "auto"},
                # other servers than Amazon's stumble over the trailing checksums that boto3 adds otherwise
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self.endpoint: str = self.client.meta.endpoint_url.rstrip("/")
        self.public_endpoint = (settings.s3_public_endpoint or self.endpoint).rstrip("/")
        self._provider = Boto3CredentialProvider(session)
        self._stores: dict[str, Any] = {}
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="s3-write")

    def at(self, key: str) -> Location:
        """That key in our own bucket."""
        return Location(self.bucket, key)

    def original(self, project_id: UUID, video_id: UUID, source_uri: str | None = None) -> Location:
        """The bytes of a video: the imported object, or the one that its ids name."""
        return locate(source_uri) if source_uri else self.at(original_key(project_id, video_id))

    # -- presigned URLs ----------------------------------------------------------------------------

    def write_headers(self, content_type: str | None) -> dict[str, str]:
        """What every write of an original says of its type, encryption and storage class."""
        return {
            **({"Content-Type": content_type} if content_type else {}),
            **({"x-amz-server-side-encryption": self.sse} if self.sse else {}),
            "x-amz-storage-class": self.storage_class,
        }

    def presign_put(
        self,
        key: str,
        *,
        expires_s: int,
        size_bytes: int,
        content_type: str | None = None,
        sha256: str | None = None,
        now: datetime | None = None,
    ) -> tuple[str, dict[str, str]]:
        """A URL to PUT one object, and the headers to send with it.

        The length is signed too, so that S3 refuses any other; clients send that header by themselves. With `sha256`
        (hex) S3 refuses other bytes.
        """
        headers = self.write_headers(content_type)
        if sha256:
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        signer, path = self._signer(self.at(key))
        url = signer.url(
            "PUT",
            path,
            now=now or datetime.now(UTC),
            expires_s=expires_s,
            headers={**headers, "Content-Length": str(size_bytes)},
        )
        return url, headers

    def presign_get(
        self,
        at: Location,
        *,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """A URL to GET an object; `filename` is what a browser would save it as."""
        query = {
            **({"response-content-disposition": _disposition(filename)} if filename else {}),
            **({"response-content-type": content_type} if content_type else {}),
        }
        signer, path = self._signer(at)
        return signer.url("GET", path, now=now or datetime.now(UTC), expires_s=expires_s, query=query)

    def presign_parts(
        self, key: str, s3_upload_id: str, numbers: Iterable[int], *, expires_s: int, now: datetime | None = None
    ) -> list[tuple[int, str]]:
        """A URL to PUT each of these parts, with its number."""
        wanted = list(numbers)
        signer, path = self._signer(self.at(key))
        queries = [{"partNumber": str(number), "uploadId": s3_upload_id} for number in wanted]
        urls = signer.urls("PUT", path, queries, now=now or datetime.now(UTC), expires_s=expires_s)
        return list(zip(wanted, urls, strict=True))

    def _signer(self, at: Location) -> tuple[Signer, str]:
        with _translated(at.uri):
            now = self._credentials.get_frozen_credentials()  # renewed when they are about to expire
        endpoint, path = self.public_endpoint, f"/{at.bucket}/{at.key}"
        if not self.path_style and "." not in at.bucket and self.public_endpoint == self.endpoint:
            scheme, _, host = endpoint.partition("://")
            endpoint, path = f"{scheme}://{at.bucket}.{host}", f"/{at.key}"
        return Signer(endpoint, self.region, now.access_key, now.secret_key, now.token), path

    # -- multipart ---------------------------------------------------------------------------------

    def create_multipart(self, key: str, content_type: str | None = None) -> str:
        """Begin an upload in parts; returns S3's id of it. Type, encryption and storage class are settled here."""
        more: dict[str, str] = {"StorageClass": self.storage_class}
        if self.sse:
            more["ServerSideEncryption"] = self.sse
        if content_type:
            more["ContentType"] = content_type
        with _translated(key):
            s3_upload_id: str = self.client.create_multipart_upload(Bucket=self.bucket, Key=key, **more)["UploadId"]
        return s3_upload_id

    def list_parts(
        self, key: str, s3_upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[list[ArrivedPart], int | None]:
        """One page of the parts that arrived, and the number after which the next page begins, or None.

        Raises NotFound when the upload was completed or aborted, or never was.
        """
        with _translated(f"the upload of {key}"):
            answer = self.client.list_parts(
                Bucket=self.bucket, Key=key, UploadId=s3_upload_id, PartNumberMarker=after, MaxParts=limit
            )
        parts = [ArrivedPart(p["PartNumber"], p["Size"], p["ETag"], p["LastModified"]) for p in answer.get("Parts", [])]
        return parts, parts[-1].number if parts and answer.get("IsTruncated") else None

    def all_parts(self, key: str, s3_upload_id: str) -> list[ArrivedPart]:
        found, after = self.list_parts(key, s3_upload_id)
        while after is not None:
            page, after = self.list_parts(key, s3_upload_id, after=after)
            found += page
        return found

    def complete_multipart(self, key: str, s3_upload_id: str, parts: Sequence[ArrivedPart]) -> None:
        """Make one object of the parts. Raises NotFound when that has been done already, or the upload is gone."""
        named = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with _translated(f"the upload of {key}"):
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=s3_upload_id, MultipartUpload={"Parts": named}
            )

    def abort_multipart(self, key: str, s3_upload_id: str) -> None:
        """Forget an upload and its parts; one that is gone already is no error."""
        try:
            with _translated(f"the upload of {key}"):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=s3_upload_id)
        except NotFound:
            return

    def stale_multiparts(self, prefix: str, before: datetime) -> list[tuple[str, str]]:
        """(key, upload id) of uploads in parts that began before then and were never ended."""
        with _translated(f"uploads below {prefix}"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            return [
                (upload["Key"], upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", [])
                if upload["Initiated"] < before
            ]

    # -- reading -----------------------------------------------------------------------------------

    def head(self, at: Location) -> Head | None:
        """What is known of an object, or None where there is none."""
        try:
            with _translated(at.uri):
                found = self.client.head_object(Bucket=at.bucket, Key=at.key)
        except NotFound:
            return None
        return Head(found["ContentLength"], found["ETag"], found.get("ContentType"), found["LastModified"])

    def get(self, at: Location) -> bytes:
        with _translated(at.uri):
            return bytes(obstore.get(self._store(at.bucket), at.key).bytes())

    def get_range(self, at: Location, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, the last not included."""
        with _translated(at.uri):
            return bytes(obstore.get_range(self._store(at.bucket), at.key, start=start, end=end))

    def get_ranges(self, at: Location, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges at once, each by a request of its own; the last byte of each is not included."""
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        with _translated(at.uri):
            found = obstore.get_ranges(self._store(at.bucket), at.key, starts=starts, ends=ends, coalesce=0)
            return [bytes(piece) for piece in found]

    def stream(self, at: Location, *, piece_bytes: int = 8 * 2**20) -> Iterator[bytes]:
        """The whole object in pieces of at least this size, the last one excepted."""
        with _translated(at.uri):
            for piece in obstore.get(self._store(at.bucket), at.key).stream(min_chunk_size=piece_bytes):
                yield bytes(piece)

    def keys_under(self, at: Location) -> list[str]:
        """The keys that begin with this one."""
        with _translated(at.uri):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=at.bucket, Prefix=at.key)
            return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def etags_under(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and ETag of our own objects below there, a thousand a request."""
        with _translated(f"objects below {prefix}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    yield found["Key"], found["ETag"].strip('"')

    # -- writing and deleting ----------------------------------------------------------------------

    def put_frames(self, frames: Sequence[tuple[str, bytes]]) -> None:
        """Write JPEGs under their keys, sixteen at a time. All are written when it returns; twice is the same as once."""
        store = self._store(self.bucket)
        attributes = {"Content-Type": "image/jpeg", "Cache-Control": FRAME_CACHE_CONTROL}

        def put(frame: tuple[str, bytes]) -> None:
            with _translated(frame[0]):
                obstore.put(store, frame[0], frame[1], attributes=attributes, use_multipart=False)

        for _ in self._writers.map(put, frames):
            pass

    def put_file(self, key: str, file: Path) -> None:
        """Write a file of any size under its key, in parts where it is large."""
        with _translated(key):
            obstore.put(self._store(self.bucket), key, file)

    def writer(self, key: str, *, content_type: str) -> ObjectWriter:
        """What takes bytes and makes one object of them when it is completed: in parts, so that memory stays as it is."""
        return ObjectWriter(self._store(self.bucket), key, content_type)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Delete these objects; one that is not there is no error."""
        for first in range(0, len(keys), DELETE_BATCH):
            batch = [{"Key": key} for key in keys[first : first + DELETE_BATCH]]
            with _translated(f"{len(batch)} objects of {self.bucket}"):
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
            if failed := answer.get("Errors"):
                raise Unavailable(
                    f"S3 did not delete {len(failed)} of {len(batch)} objects, the first one because of "
                    f"{failed[0].get('Code')}: try again",
                )

    def delete_below(self, prefix: str) -> int:
        """Delete the next thousand objects below a video's prefix, or all; returns how many that were, so 0 ends it."""
        if not VIDEO_PREFIX.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is not the prefix of a video: nothing is deleted")
        with _translated(f"objects below {prefix}"):
            page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=DELETE_BATCH)
        keys = [found["Key"] for found in page.get("Contents", [])]
        self.delete_many(keys)
        return len(keys)

    def check(self) -> None:
        """Raises Unavailable or ConfigurationError unless our bucket answers."""
        try:
            with _translated(f"bucket {self.bucket}"):
                self.client.head_bucket(Bucket=self.bucket)
        except NotFound as error:
            raise ConfigurationError(
                f"there is no bucket {self.bucket!r} at {self.endpoint}: make it, or set ARGUS_BUCKET"
            ) from error

    def close(self) -> None:
        self._writers.shutdown()
        self.client.close()

    def _store(self, bucket: str) -> Any:
        if bucket not in self._stores:
            more: Mapping[str, Any] = {"server_side_encryption": self.sse} if self.sse else {}
            self._stores[bucket] = S3Store(
                bucket,
                region=self.region,
                credential_provider=self._provider,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": self.endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=3),
                    "read_timeout": timedelta(seconds=60),
                    "timeout": timedelta(minutes=30),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
                endpoint=self.endpoint,
                **more,
            )
        return self._stores[bucket]


class ObjectWriter(io.RawIOBase):
    """An object while it is written. Nothing is there until `complete`; what is dropped before leaves parts to the sweeper."""

    def __init__(self, store: Any, key: str, content_type: str) -> None:
        super().__init__()
        self._key, self.size_bytes = key, 0
        with _translated(key):
            self._out = obstore.open_writer(
                store, key, attributes={"Content-Type": content_type}, buffer_size=MIN_PART_BYTES, max_concurrency=2
            )

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = len(data)
        with _translated(self._key):
            self._out.write(bytes(data))
        self.size_bytes += size
        return size

    def complete(self) -> None:
        """Make the object of what was written."""
        with _translated(self._key):
            self._out.close()
        self.close()


def _disposition(filename: str) -> str:
    """RFC 6266: the name as it is, percent-encoded, so that no name can break out of the header."""
    return f"inline; filename*=UTF-8''{quote(filename, safe='')}"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Two libraries' errors into ours: the one table of them."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in MISSING:
            raise NotFound(f"S3 has no {what}") from error
        if code in REFUSED:
            raise ConfigurationError(
                f"S3 refuses us {what} ({code}): check the bucket's name, the credentials and their rights"
            ) from error
        raise Unavailable(f"S3 did not do it for {what} ({code}): try again in a moment") from error
    except (FileNotFoundError, NotFoundError) as error:  # obstore raises the builtin one
        raise NotFound(f"S3 has no {what}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ConfigurationError(
            f"S3 refuses us {what}: check the bucket's name, the credentials and their rights"
        ) from error
    except (BotoCoreError, Boto3Error, BaseError) as error:
        raise Unavailable(f"S3 does not answer for {what}: try again in a moment") from error
