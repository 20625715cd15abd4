from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from argus_ray import s3
from argus_ray.errors import ConfigurationError, InvalidRequest
from argus_ray.presign import Signer
from argus_ray.settings import Settings

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
PROJECT, VIDEO = UUID(int=1), UUID(int=2)
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def amazon() -> s3.S3:
    return s3.S3(Settings(s3_endpoint="aws", s3_access_key="AKID", s3_secret_key="secret", s3_region="eu-west-1"))


def botocore_url(
    monkeypatch: pytest.MonkeyPatch, method: str, url: str, headers: dict[str, str], token: str | None = None
) -> str:
    """What botocore itself makes of the same request at the same moment."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None))
    request = AWSRequest(method, url, headers)
    S3SigV4QueryAuth(Credentials("AKID", "secret", token), "s3", "eu-west-1", expires=900).add_auth(request)
    return request.url


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "token"),
    [
        ("GET", "/argus/projects/1/videos/2/original", {}, {}, None),
        ("GET", "/argus/a b+c~d/ü.jpg", {"response-content-disposition": "inline; filename*=UTF-8''%C3%BC"}, {}, None),
        ("PUT", "/argus/k", {"partNumber": "12", "uploadId": "a+b/c=~"}, {}, "to/ken+="),
        ("PUT", "/argus/k", {}, {"Content-Type": "video/mp4", "x-amz-storage-class": "STANDARD_IA"}, None),
        ("PUT", "/argus/k", {}, {"Content-Length": "5", "x-amz-checksum-sha256": "AA+/=="}, "token"),
    ],
)
def test_a_presigned_url_is_the_one_that_botocore_makes(monkeypatch, method, path, query, headers, token):
    signer = Signer("http://127.0.0.1:9000", "eu-west-1", "AKID", "secret", token)

    ours = signer.url(method, path, now=NOW, expires_s=900, query=query, headers=headers)

    unsigned = Signer("http://127.0.0.1:9000", "eu-west-1", "AKID", "secret").url(
        method, path, now=NOW, expires_s=900, query=query
    )
    bare = unsigned.split("?")[0]
    own = [piece for piece in ours.split("?")[1].split("&") if not piece.startswith("X-Amz")]
    theirs = botocore_url(monkeypatch, method, bare + ("?" + "&".join(own) if own else ""), headers, token)
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)
    assert urlsplit(ours)[:3] == urlsplit(theirs)[:3]


def test_five_hundred_part_urls_cost_a_tenth_of_botos(amazon):
    def cpu_s(make) -> float:
        start = time.process_time()
        make()
        return time.process_time() - start

    def boto() -> None:
        for number in range(1, 501):
            amazon.client.generate_presigned_url(
                "upload_part", {"Bucket": "argus", "Key": "k", "UploadId": "u", "PartNumber": number}
            )

    def ours() -> None:
        amazon.presign_parts("k", "u", range(1, 501), expires_s=900)

    ours(), boto()
    assert min(cpu_s(ours) for _ in range(3)) * 10 <= min(cpu_s(boto) for _ in range(3))


def test_amazons_urls_name_the_bucket_in_the_host_and_a_custom_endpoint_in_the_path(amazon):
    custom = s3.S3(Settings(s3_endpoint="http://127.0.0.1:9000/", s3_access_key="AKID", s3_secret_key="secret"))

    assert amazon.presign_get(amazon.at("a/b"), expires_s=60).startswith(
        "https://argus.s3.eu-west-1.amazonaws.com/a/b?"
    )
    assert custom.presign_get(custom.at("a/b"), expires_s=60).startswith("http://127.0.0.1:9000/argus/a/b?")


def test_urls_are_for_the_endpoint_that_clients_reach():
    inside = s3.S3(
        Settings(
            s3_endpoint="http://seaweedfs:8333",
            s3_public_endpoint="https://objects.example.org:443",
            s3_access_key="AKID",
            s3_secret_key="secret",
        )
    )

    url = inside.presign_get(inside.at("k"), expires_s=60, now=NOW)

    outside = Signer("https://objects.example.org", "us-east-1", "AKID", "secret")  # clients send no default port
    signature = parse_qs(urlsplit(outside.url("GET", "/argus/k", now=NOW, expires_s=60)).query)["X-Amz-Signature"]
    assert url.startswith("https://objects.example.org:443/argus/k?")
    assert parse_qs(urlsplit(url).query)["X-Amz-Signature"] == signature


def test_a_name_cannot_break_out_of_the_content_disposition(amazon):
    url = amazon.presign_get(amazon.at("k"), expires_s=60, filename='a"; filename="x.exe\r\nSet-Cookie: ü/../')

    (said,) = parse_qs(urlsplit(url).query)["response-content-disposition"]
    assert said == "inline; filename*=UTF-8''a%22%3B%20filename%3D%22x.exe%0D%0ASet-Cookie%3A%20%C3%BC%2F..%2F"


def test_without_credentials_the_error_says_which_settings_are_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)

    with pytest.raises(ConfigurationError, match="ARGUS_S3_ACCESS_KEY"):
        s3.S3(Settings(s3_endpoint="aws", s3_access_key=None, s3_secret_key=None))


@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=2, unique=True))
def test_frames_have_keys_of_their_own_that_sort_by_time_from_zero_on(pts):
    early, late = sorted(pts)
    keys = [s3.frame_key(PROJECT, VIDEO, moment) for moment in (early, late)]

    assert keys[0] != keys[1]
    if late >= 0:
        assert keys[0] < keys[1]


def test_keys_hold_nothing_but_ids_and_times():
    assert s3.original_key(PROJECT, VIDEO) == f"projects/{PROJECT}/videos/{VIDEO}/original"
    assert s3.frame_key(PROJECT, VIDEO, 1_500_000) == (
        f"projects/{PROJECT}/videos/{VIDEO}/frames/00000000000001500000.jpg"
    )


@given(st.integers(1, 5 * 2**40))
def test_any_size_fits_into_ten_thousand_parts_that_s3_takes(size_bytes):
    part = s3.part_size_bytes(size_bytes)

    assert 5 * MEBIBYTE <= part <= 5 * 2**30
    assert part % MEBIBYTE == 0
    assert -(-size_bytes // part) <= 10_000


def test_a_uri_names_a_bucket_and_a_key():
    assert s3.locate("s3://bucket/a/b.mp4") == s3.Location("bucket", "a/b.mp4")
    for wrong in ("bucket/a", "s3://bucket", "s3://bucket/", "s3:///a", "https://bucket/a"):
        with pytest.raises(InvalidRequest, match="s3://bucket/key"):
            s3.locate(wrong)


@pytest.mark.parametrize(
    "prefix", ["", "projects/", f"projects/{PROJECT}/videos/", f"projects/{PROJECT}/videos/{VIDEO}"]
)
def test_nothing_wider_than_a_video_is_deleted_by_prefix(amazon, prefix):
    with pytest.raises(ValueError, match="nothing is deleted"):
        amazon.delete_below(prefix)
