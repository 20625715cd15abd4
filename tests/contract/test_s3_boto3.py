"""What Argus asks of an S3 server, through its own code and through boto3: a mock would pass half of it untrue."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from argus_ray.errors import ConfigurationError, NotFound, Unavailable
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.s3 import S3, Location, frame_key, original_key, video_prefix
from argus_ray.settings import Settings

MEBIBYTE = 2**20


def settings_of(server: SeaweedFS, **changes) -> Settings:
    return Settings(
        **{
            "s3_endpoint": server.endpoint,
            "s3_access_key": server.access_key,
            "s3_secret_key": server.secret_key,
            "bucket": server.bucket,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def store(s3):
    store = S3(settings_of(s3))
    yield store
    store.close()


@pytest.fixture
def key() -> str:
    return original_key(uuid.uuid4(), uuid.uuid4())


def put(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.put(url, content=body, headers=headers, trust_env=False)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


def test_a_presigned_put_stores_the_bytes_with_type_encryption_and_class(store, key, s3):
    url, headers = store.presign_put(key, expires_s=60, size_bytes=5, content_type="video/mp4")

    assert put(url, b"12345", headers).status_code == 200
    head = store.head(store.at(key))
    assert (head.size_bytes, head.content_type) == (5, "video/mp4")
    assert store.get(store.at(key)) == b"12345"
    assert s3.client().head_object(Bucket=s3.bucket, Key=key)["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(
    "change",
    [
        {"Content-Type": "text/html"},
        {"x-amz-server-side-encryption": None},
        {"x-amz-storage-class": "GLACIER"},
        {"x-amz-checksum-sha256": None},
    ],
)
def test_a_presigned_put_with_other_headers_is_refused(store, key, change):
    sha256 = hashlib.sha256(b"12345").hexdigest()
    url, headers = store.presign_put(key, expires_s=60, size_bytes=5, content_type="video/mp4", sha256=sha256)

    changed = {name: value for name, value in {**headers, **change}.items() if value is not None}

    assert put(url, b"12345", changed).status_code == 403
    assert store.head(store.at(key)) is None


def test_a_presigned_put_of_other_bytes_than_announced_is_refused(store, key):
    url, headers = store.presign_put(key, expires_s=60, size_bytes=5, sha256=hashlib.sha256(b"12345").hexdigest())

    assert put(url, b"54321", headers).status_code == 400
    assert store.head(store.at(key)) is None
    assert put(url, b"12345", headers).status_code == 200


def test_a_presigned_put_of_another_size_is_refused(store, key):
    url, headers = store.presign_put(key, expires_s=60, size_bytes=5)

    assert put(url, b"123456", headers).status_code == 403
    assert store.head(store.at(key)) is None


def test_a_presigned_url_ends_at_its_expiry_and_serves_its_method_alone(store, key):
    past = datetime.now(UTC) - timedelta(minutes=2)
    url, headers = store.presign_put(key, expires_s=60, size_bytes=5, now=past)
    assert put(url, b"12345", headers).status_code == 403

    url, headers = store.presign_put(key, expires_s=60, size_bytes=5)
    assert get(url).status_code == 403
    assert put(url.replace("original", "orig1nal"), b"12345", headers).status_code == 403


def test_a_presigned_get_serves_ranges_under_the_name_and_type_that_were_signed(store, key, s3):
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=b"0123456789")

    url = store.presign_get(store.at(key), expires_s=60, filename="Ünï code.mp4", content_type="video/mp4")
    answer = get(url, range="bytes=2-4")

    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''%C3%9Cn%C3%AF%20code.mp4"


def test_an_upload_in_parts_arrives_whole_and_can_be_listed_meanwhile(store, key, s3):
    s3_upload_id = store.create_multipart(key, "video/mp4")
    first, last = b"a" * 5 * MEBIBYTE, b"b" * 10
    urls = dict(store.presign_parts(key, s3_upload_id, range(1, 4), expires_s=60))

    assert put(urls[1], first, {}).status_code == 200
    assert [(p.number, p.size_bytes) for p in store.all_parts(key, s3_upload_id)] == [(1, len(first))]
    assert put(urls[2], last, {}).status_code == 200
    assert store.list_parts(key, s3_upload_id, limit=1)[1] == 1
    assert [p.number for p in store.list_parts(key, s3_upload_id, after=1)[0]] == [2]
    parts = store.all_parts(key, s3_upload_id)
    store.complete_multipart(key, s3_upload_id, parts)

    head = store.head(store.at(key))
    assert (head.size_bytes, head.content_type) == (len(first) + len(last), "video/mp4")
    assert store.get_range(store.at(key), len(first) - 2, len(first) + 2) == b"aabb"
    assert s3.client().head_object(Bucket=s3.bucket, Key=key)["ServerSideEncryption"] == "AES256"
    with pytest.raises(NotFound):
        store.list_parts(key, s3_upload_id)


def test_an_aborted_upload_takes_no_more_parts_and_aborting_twice_is_no_error(store, key):
    s3_upload_id = store.create_multipart(key)
    store.abort_multipart(key, s3_upload_id)
    store.abort_multipart(key, s3_upload_id)

    ((_, url),) = store.presign_parts(key, s3_upload_id, [1], expires_s=60)
    assert put(url, b"late", {}).status_code == 404


def test_uploads_that_nobody_ended_are_found_by_their_age(store, key):
    s3_upload_id = store.create_multipart(key)

    assert (key, s3_upload_id) in store.stale_multiparts("projects/", datetime.now(UTC) + timedelta(minutes=1))
    assert (key, s3_upload_id) not in store.stale_multiparts("projects/", datetime.now(UTC) - timedelta(minutes=1))
    store.abort_multipart(key, s3_upload_id)


def test_frames_are_written_encrypted_and_deleted_with_their_video(store, s3):
    project, video = uuid.uuid4(), uuid.uuid4()
    frames = [(frame_key(project, video, pts), f"jpeg {pts}".encode()) for pts in (-40_000, 0, 40_000)]

    store.put_frames(frames)
    store.put_frames(frames)

    head = s3.client().head_object(Bucket=s3.bucket, Key=frames[0][0])
    assert head["ContentType"] == "image/jpeg"
    assert head["CacheControl"].startswith("private")
    assert head["ServerSideEncryption"] == "AES256"
    assert [store.get(store.at(key)) for key, _ in frames] == [body for _, body in frames]
    assert store.delete_below(video_prefix(project, video)) == 3
    assert store.delete_below(video_prefix(project, video)) == 0
    assert store.head(store.at(frames[0][0])) is None


def test_deleting_what_is_not_there_is_no_error(store, key, s3):
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=b"x")

    store.delete_many([key, key + "-never"])

    assert store.head(store.at(key)) is None


def test_an_object_is_read_by_ranges_and_as_a_stream(store, key, s3):
    body = bytes(range(256)) * 20_000
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=body)

    assert store.get_ranges(store.at(key), [(0, 3), (len(body) - 2, len(body))]) == [body[:3], body[-2:]]
    assert b"".join(store.stream(store.at(key), piece_bytes=MEBIBYTE)) == body


@pytest.mark.parametrize(
    "name", ["Ünï 🎬.mp4", "a b+c.mp4", "100%25 #1?.mp4", "it's (1) [x] {y} ~*&=;@$!,.mp4", 'q"<>^`|.mp4']
)
def test_an_imported_object_may_have_any_name(store, s3, name):
    """Three libraries sign and send this key, each with its own idea of percent-encoding."""
    at = Location(s3.bucket, f"inbox/{uuid.uuid4()}/{name}")
    s3.client().put_object(Bucket=at.bucket, Key=at.key, Body=b"0123456789")

    assert store.head(at).size_bytes == 10
    assert store.get(at) == b"0123456789"
    assert store.get_ranges(at, [(2, 4)]) == [b"23"]
    assert b"".join(store.stream(at)) == b"0123456789"
    assert get(store.presign_get(at, expires_s=60)).content == b"0123456789"


def test_what_is_missing_is_not_found_and_wrong_credentials_say_so(store, key, s3):
    with pytest.raises(NotFound):
        store.get(store.at(key))
    with pytest.raises(NotFound):
        list(store.stream(store.at(key)))
    with pytest.raises(NotFound):
        store.complete_multipart(key, "no-such-upload", [])
    assert store.head(Location("no-such-bucket", "k")) is None

    stranger = S3(settings_of(s3, s3_secret_key="wrong"))
    with pytest.raises(ConfigurationError):
        stranger.head(stranger.at(key))
    with pytest.raises(ConfigurationError):
        stranger.get(stranger.at(key))
    with pytest.raises(ConfigurationError):
        stranger.put_frames([(key, b"x")])
    with pytest.raises(ConfigurationError, match="bucket's name"):
        S3(settings_of(s3, bucket="no-such-bucket")).delete_below(video_prefix(uuid.uuid4(), uuid.uuid4()))
    with pytest.raises(ConfigurationError, match="ARGUS_BUCKET"):
        S3(settings_of(s3, bucket="no-such-bucket")).check()
    store.check()


def test_a_server_that_is_down_is_unavailable(key):
    store = S3(Settings(s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b"))

    for attempt in (
        lambda: store.head(store.at(key)),
        lambda: store.get(store.at(key)),
        lambda: store.put_frames([(key, b"x")]),
        lambda: store.delete_many([key]),
        lambda: store.create_multipart(key),
        store.check,
    ):
        with pytest.raises(Unavailable, match="try again"):
            attempt()
