"""Storage through the official client: who may, what arrives, and what is refused."""

from __future__ import annotations

import asyncio
import uuid

import httpx
import pytest
from storage3.exceptions import StorageApiError

from tests.local_supabase import LocalSupabase

PICTURE = bytes(range(256)) * 40


@pytest.fixture
def bucket(supabase) -> str:
    """A private bucket, of which signed-in people may use the folder named like their id."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    supabase.server().storage.create_bucket(name)
    supabase.execute(
        f"""
        create policy "Own folder {name}" on storage.objects for all to authenticated
        using (bucket_id = '{name}' and (storage.foldername(name))[1] = auth.uid()::text)
        """
    )
    return name


def keys_in_s3(s3, supabase: LocalSupabase, bucket: str) -> list[str]:
    found = s3.client().list_objects_v2(Bucket=supabase.storage_bucket, Prefix=f"{bucket}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


def refusal(call, *arguments, **named) -> tuple[str, str]:
    with pytest.raises(StorageApiError) as refused:
        call(*arguments, **named)
    return refused.value.status, refused.value.code


# -- buckets -------------------------------------------------------------------------------------


def test_a_bucket_is_made_found_changed_emptied_and_deleted(supabase):
    storage, name = supabase.server().storage, f"b-{uuid.uuid4().hex[:12]}"

    storage.create_bucket(name, options={"public": True, "file_size_limit": 1000, "allowed_mime_types": ["image/*"]})
    assert refusal(storage.create_bucket, name) == ("409", "Duplicate")
    made = storage.get_bucket(name)
    assert (made.public, made.file_size_limit, made.allowed_mime_types) == (True, 1000, ["image/*"])
    storage.update_bucket(name, {"public": False})
    changed = storage.get_bucket(name)
    assert (changed.public, changed.file_size_limit) == (False, 1000)
    assert name in {found.id for found in storage.list_buckets()}
    storage.from_(name).upload("x.png", b"x", {"content-type": "image/png"})
    assert refusal(storage.delete_bucket, name) == ("409", "InvalidRequest")
    storage.empty_bucket(name)
    storage.delete_bucket(name)
    assert refusal(storage.get_bucket, name) == ("404", "Bucket not found")


def test_who_has_no_secret_key_makes_no_bucket_and_sees_none(supabase):
    storage = supabase.person().storage

    assert refusal(storage.create_bucket, f"b-{uuid.uuid4().hex[:12]}") == ("403", "Unauthorized")
    assert storage.list_buckets() == []


# -- objects -------------------------------------------------------------------------------------


def test_an_object_comes_back_as_it_was_put_with_its_facts(supabase, bucket):
    files = supabase.server().storage.from_(bucket)

    put = files.upload("a/b/c.png", PICTURE, {"content-type": "image/png", "cache-control": "60", "metadata": {"k": 1}})

    assert put.full_path == f"{bucket}/a/b/c.png"
    assert files.download("a/b/c.png") == PICTURE
    info = files.info("a/b/c.png")
    assert (info["size"], info["content_type"], info["cache_control"]) == (len(PICTURE), "image/png", "max-age=60")
    assert (info["name"], info["metadata"]) == ("a/b/c.png", {"k": 1})
    assert files.exists("a/b/c.png")
    assert not files.exists("a/b/d.png")


def test_the_asynchronous_client_works_as_well(supabase, bucket):
    async def round_trip() -> bytes:
        async with supabase.person_async() as client:
            own = f"{(await client.auth.get_user()).user.id}/x.bin"
            await client.storage.from_(bucket).upload(own, PICTURE)
            return await client.storage.from_(bucket).download(own)

    assert asyncio.run(round_trip()) == PICTURE


def test_the_policies_decide_who_reads_and_writes(supabase, bucket):
    ann, bob = supabase.person(), supabase.person()
    own = f"{ann.auth.get_user().user.id}/x.png"
    ann.storage.from_(bucket).upload(own, PICTURE)

    for other in (bob, supabase.anyone()):
        files = other.storage.from_(bucket)
        assert refusal(files.download, own) == ("404", "not_found")
        assert refusal(files.create_signed_url, own, 60) == ("404", "not_found")
        assert refusal(files.update, own, b"mine now") == ("404", "not_found")
        assert refusal(files.upload, own, b"mine now", {"upsert": "true"}) == ("403", "Unauthorized")
        assert refusal(files.upload, own.replace("x", "y"), b"here too") == ("403", "Unauthorized")
        assert refusal(files.move, own, "stolen.png") == ("404", "not_found")
        assert refusal(files.copy, own, "stolen.png") == ("404", "not_found")
        assert files.remove([own]) == []
        assert files.list(own.split("/", maxsplit=1)[0]) == []
    assert refusal(ann.storage.from_(bucket).move, own, "elsewhere.png") == ("403", "Unauthorized")
    assert ann.storage.from_(bucket).download(own) == PICTURE


def test_writing_twice_needs_upsert_and_leaves_one_object_behind(supabase, bucket, s3):
    files = supabase.server().storage.from_(bucket)
    files.upload("x", b"one")

    assert refusal(files.upload, "x", b"two") == ("409", "Duplicate")
    assert files.download("x") == b"one"
    files.upload("x", b"three", {"upsert": "true"})
    assert files.download("x") == b"three"
    files.update("x", b"four")
    assert files.download("x") == b"four"
    assert len(keys_in_s3(s3, supabase, bucket)) == 1
    assert refusal(files.update, "y", b"never was") == ("404", "not_found")


def test_objects_are_moved_copied_and_removed(supabase, bucket, s3):
    files = supabase.server().storage.from_(bucket)
    files.upload("x.png", PICTURE, {"content-type": "image/png"})

    files.copy("x.png", "copies/y.png")
    files.move("x.png", "moved/z.png")

    assert refusal(files.download, "x.png") == ("404", "not_found")
    assert files.download("copies/y.png") == files.download("moved/z.png") == PICTURE
    assert refusal(files.copy, "copies/y.png", "moved/z.png") == ("409", "Duplicate")
    assert refusal(files.move, "copies/y.png", "moved/z.png") == ("409", "Duplicate")
    assert {gone["name"] for gone in files.remove(["copies/y.png", "moved/z.png", "no"])} == {
        "copies/y.png",
        "moved/z.png",
    }
    assert keys_in_s3(s3, supabase, bucket) == []


def test_a_folder_lists_its_files_and_folders(supabase, bucket):
    files = supabase.server().storage.from_(bucket)
    for name in ("f/b.txt", "f/a.txt", "f/deep/er/c.txt", "f/deep/d.txt", "g.txt"):
        files.upload(name, b".")

    assert [(entry["name"], entry["id"] is None) for entry in files.list("f")] == [
        ("a.txt", False),
        ("b.txt", False),
        ("deep", True),
    ]
    assert [entry["name"] for entry in files.list("f", {"limit": 1, "offset": 1})] == ["b.txt"]
    assert [entry["name"] for entry in files.list("f", {"search": "A"})] == ["a.txt"]
    assert next(entry["name"] for entry in files.list("f", {"sortBy": {"column": "name", "order": "desc"}})) == "deep"
    assert [entry["name"] for entry in files.list()] == ["f", "g.txt"]


def test_pages_of_a_listing_hold_every_name_once(supabase, bucket):
    files = supabase.server().storage.from_(bucket)
    names = ["f/a.txt", "f/b.txt", "f/deep/c.txt", "f/deep/d.txt", "g.txt"]
    for name in names:
        files.upload(name, b".")

    seen, cursor = [], None
    while True:
        page = files.list_v2({"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [found.name for found in page.objects]
        if not page.hasNext:
            break
        cursor = page.nextCursor
    folded = files.list_v2({"prefix": "f/", "with_delimiter": True})

    assert seen == names
    assert [found.name for found in folded.objects] == ["f/a.txt", "f/b.txt"]
    assert [found.name for found in folded.folders] == ["f/deep/"]


# -- URLs ----------------------------------------------------------------------------------------


def test_a_signed_url_opens_its_object_without_a_key_until_it_expires(supabase, bucket):
    files = supabase.server().storage.from_(bucket)
    files.upload("a b/x.png", PICTURE, {"content-type": "image/png"})
    files.upload("a b/y.png", b"another")

    url = files.create_signed_url("a b/x.png", 60)["signedURL"]
    many = files.create_signed_urls(["a b/x.png", "no"], 60)
    token = supabase.signing.sign_url({"url": f"{bucket}/a b/x.png", "scope": "download"}, -1)
    expired = f"{url.partition('?')[0]}?token={token}"
    named = files.create_signed_url("a b/x.png", 60, {"download": "für dich.png"})["signedURL"]

    answer = httpx.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PICTURE, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(many[0]["signedURL"]).content == PICTURE
    assert many[1]["signedURL"] is None
    assert many[1]["error"]
    assert "f%C3%BCr%20dich.png" in httpx.get(named).headers["content-disposition"]
    for wrong in (expired, url[:-4] + "AAAA", url.replace("x.png", "y.png")):
        assert httpx.get(wrong).status_code == 400, wrong


def test_a_signed_upload_writes_its_object_and_no_other(supabase, bucket):
    ann = supabase.person()
    own = f"{ann.auth.get_user().user.id}/x.png"
    files = ann.storage.from_(bucket)
    signed = files.create_signed_upload_url(own)

    supabase.anyone().storage.from_(bucket).upload_to_signed_url(own, signed["token"], PICTURE)

    assert files.download(own) == PICTURE
    stranger = supabase.anyone().storage.from_(bucket)
    assert refusal(stranger.upload_to_signed_url, "other.png", signed["token"], b"x") == ("400", "InvalidSignature")
    assert refusal(stranger.upload_to_signed_url, own, signed["token"], b"x") == ("409", "Duplicate")
    assert refusal(stranger.create_signed_upload_url, "other.png") == ("403", "Unauthorized")


def test_a_public_bucket_is_open_to_read_and_a_private_one_is_not(supabase, bucket):
    storage, public = supabase.server().storage, f"b-{uuid.uuid4().hex[:12]}"
    storage.create_bucket(public, options={"public": True})
    for name in (public, bucket):
        storage.from_(name).upload("x.png", PICTURE)

    assert httpx.get(storage.from_(public).get_public_url("x.png")).content == PICTURE
    assert httpx.get(storage.from_(bucket).get_public_url("x.png")).status_code == 400
    assert refusal(supabase.anyone().storage.from_(public).upload, "y.png", b"x") == ("403", "Unauthorized")


def test_ranges_and_conditions_are_those_of_s3(supabase, bucket):
    supabase.server().storage.from_(bucket).upload("x.bin", PICTURE)
    path = f"/storage/v1/object/{bucket}/x.bin"
    with supabase.http(apikey=supabase.secret_key) as http:
        whole = http.get(path)
        part = http.get(path, headers={"Range": "bytes=10-19"})
        same = http.get(path, headers={"If-None-Match": whole.headers["etag"]})
        outside = http.get(path, headers={"Range": "bytes=999999-"})
        head = http.head(path)

    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    assert (part.status_code, part.content) == (206, PICTURE[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(PICTURE)}"
    assert (same.status_code, same.content) == (304, b"")
    assert (outside.status_code, outside.json()["statusCode"]) == (400, "416")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PICTURE)))


# -- what is refused -----------------------------------------------------------------------------


def test_a_bucket_bounds_size_and_kind(supabase, s3):
    storage, name = supabase.server().storage, f"b-{uuid.uuid4().hex[:12]}"
    storage.create_bucket(name, options={"file_size_limit": "1KB", "allowed_mime_types": ["image/*"]})
    files = storage.from_(name)

    files.upload("exactly.png", b"x" * 1024, {"content-type": "image/png"})

    assert refusal(files.upload, "more.png", b"x" * 1025, {"content-type": "image/png"}) == ("413", "Payload too large")
    assert refusal(files.upload, "x.txt", b"x", {"content-type": "text/plain"}) == ("415", "invalid_mime_type")
    assert len(keys_in_s3(s3, supabase, name)) == 1


def test_an_upload_without_end_is_cut_off(supabase, bucket):
    with supabase.http(apikey=supabase.secret_key, **{"Content-Type": "application/x-video"}) as http:
        answer = http.post(f"/storage/v1/object/{bucket}/x", content=(b"x" * 2**20 for _ in range(60)))

    assert answer.json()["statusCode"] == "413"


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e/x",
        "a/%2e%2e/x",
        "a/%2e/x",
        "a//x",
        "x%00y",
        "%2fetc/passwd",
        "a/",
        "x%09y",
        "%ff",
        "%f0%9f%98%80",
        "x" * 901,
    ],
)
def test_an_absurd_name_is_a_clear_400(supabase, bucket, name):
    with supabase.http(apikey=supabase.secret_key) as http:
        # as bytes on the wire: the client must not tidy the path
        url = httpx.URL(supabase.url).copy_with(raw_path=f"/storage/v1/object/{bucket}/{name}".encode())
        answer = http.send(http.build_request("POST", url, content=b"x"))

    assert answer.status_code == 400
    assert answer.json()["error"] == "InvalidKey"


def test_malformed_requests_are_clear_400s(supabase, bucket):
    with supabase.http(apikey=supabase.secret_key) as http:
        for path, body in (
            (f"/object/list/{bucket}", {"limit": -1}),
            (f"/object/list/{bucket}", {"prefix": "\0"}),
            (f"/object/list/{bucket}", {"sortBy": {"column": "name; drop table storage.objects"}}),
            (f"/object/list-v2/{bucket}", {"cursor": "%%%"}),
            (f"/object/sign/{bucket}/x", {"expiresIn": 10**12}),
            ("/object/move", {"bucketId": bucket, "sourceKey": "../x", "destinationKey": "y"}),
            ("/object/copy", {"bucketId": bucket}),
            ("/bucket", {"name": "a/b"}),
            ("/bucket", {"name": ""}),
        ):
            answer = http.post("/storage/v1" + path, json=body)
            assert answer.status_code == 400, (path, body, answer.text)
            assert answer.json()["message"], (path, body)
