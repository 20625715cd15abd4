"""The Python client over HTTP: the API on a real port, real Postgres, real S3 behind a line that can be cut."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from argus_ray.client import AsyncClient, Client
from argus_ray.client.calls import Account
from argus_ray.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    VideoTooLarge,
)
from argus_ray.schemas.job import JobState
from argus_ray.schemas.project import ApiKeyCreate, ProjectUpdate, Role
from argus_ray.schemas.video import SamplingPolicy, VideoImport, VideoState, VideoUpdate
from tests.library import MEBIBYTE, library
from tests.line import Line
from tests.waiting import wait_until

PART = 5 * MEBIBYTE
SIZE = 4 * PART + 12345
"""Five parts, the last one short."""


@pytest.fixture(scope="module")
def line(s3):
    """The way to S3 that presigned URLs take."""
    with Line(s3.endpoint) as line:
        yield line


@pytest.fixture(scope="module")
def place(postgres, s3, line):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("argus_ray.s3.MIN_PART_BYTES", PART)
        with library(
            postgres,
            s3,
            multipart_threshold_bytes=PART,
            s3_public_endpoint=line.url,
            max_size_bytes=100 * MEBIBYTE,
            import_prefixes=[f"s3://{s3.bucket}/inbox"],
        ) as place:
            yield place


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where uploads are remembered: no test goes on with another's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def argus(place):
    with Client(place.url, place.issuer.token("ana@example.org")) as argus:
        yield argus


@pytest.fixture(scope="module")
def project(argus):
    return argus.projects.create("Street").id


@pytest.fixture
def aio(place):
    """Makes asynchronous clients of the same person."""
    return lambda: AsyncClient(place.url, place.issuer.token("ana@example.org"))


def a_file(folder: Path, size: int = 1000, name: str = "clip.mp4") -> Path:
    path = folder / name
    path.write_bytes(random.Random(os.urandom(8)).randbytes(size))
    return path


def stored(place, video) -> bytes:
    return place.s3.get(place.s3.original(video.project_id, video.id))


# -- resources -----------------------------------------------------------------------------------


def test_every_resource_answers_as_its_route_does(place, argus, project, tmp_path):
    me = argus.me.get()
    assert argus.me.update(me, {"theme": "dark"}).settings == {"theme": "dark"}

    renamed = argus.projects.update(argus.projects.get(project), ProjectUpdate(sampling=SamplingPolicy(fps=2)))
    assert renamed.sampling.fps == 2

    member = argus.members.invite(project, "vic@example.org", Role.VIEWER)
    changed = argus.members.change_role(argus.members.get(project, member.id), Role.EDITOR)
    assert changed.role is Role.EDITOR
    argus.members.remove(project, member.id)
    assert [one.email for one in argus.members.list(project)] == ["ana@example.org"]

    key = argus.api_keys.create(project, ApiKeyCreate(name="nightly"))
    with Client(place.url, key.key) as machine:
        assert machine.me.get().project_id == project
        argus.api_keys.revoke(project, key.id)
        with pytest.raises(Unauthenticated):
            machine.me.get()
    assert [one.revoked_at is not None for one in argus.api_keys.list(project)] == [True]

    video = argus.videos.upload(project, a_file(tmp_path), metadata={"camera": 3}, sampling=SamplingPolicy(fps=1))
    assert (video.state, video.metadata, video.sampling) == (VideoState.UPLOADED, {"camera": 3}, SamplingPolicy(fps=1))
    assert argus.videos.update(video, VideoUpdate(name="gate")).name == "gate"
    assert [one.id for one in argus.videos.list(project, metadata={"camera": 3}, name="gat")] == [video.id]
    assert [*argus.videos.list(project, state=[VideoState.READY, VideoState.FAILED], name="gate")] == []
    assert httpx.get(argus.videos.media(video.id).url, trust_env=False).content == stored(place, video)

    (job,) = argus.jobs.list(project, video_id=video.id, state=JobState.QUEUED)
    assert argus.jobs.get(job.id) == job
    assert argus.jobs.cancel(job.id).state is JobState.CANCELLED
    assert argus.jobs.retry(job.id).state is JobState.QUEUED
    place.make_ready(argus.jobs.get(job.id).model_dump(mode="json"), 0, 1_000_000, 2_000_000)
    assert argus.jobs.wait(job.id).state is JobState.SUCCEEDED
    assert [frame.pts_us for frame in argus.videos.frames(video.id)] == [0, 1_000_000, 2_000_000]
    (frame,) = argus.videos.frames(video.id, from_us=1, to_us=2_000_000)
    assert argus.frames.get(frame.id).pts_us == 1_000_000
    again = argus.videos.reingest(video.id, SamplingPolicy(policy="keyframes"))
    assert again.state is JobState.QUEUED

    assert {entry.subject for entry in argus.projects.audit(project)} >= {"projects", "videos", "api_keys"}
    argus.videos.delete(video.id)
    argus.videos.delete(video.id)
    with pytest.raises(NotFound):
        argus.videos.get(video.id)


def test_an_object_in_a_bucket_is_imported_by_its_uri(s3, place, argus, project):
    s3.client().put_object(Bucket=s3.bucket, Key="inbox/a.mp4", Body=b"bytes that lie there already")

    job = argus.videos.import_(project, VideoImport(uri=f"s3://{place.s3.bucket}/inbox/a.mp4"))

    assert argus.videos.get(job.video_id).source_uri.endswith("inbox/a.mp4")


def test_the_asynchronous_client_does_the_same(aio, tmp_path):
    async def do() -> tuple:
        async with aio() as argus:
            project = await argus.projects.create("Async")
            video = await argus.videos.upload(project.id, a_file(tmp_path))
            listed = [one.id async for one in argus.videos.list(project.id)]
            (job,) = [job async for job in argus.jobs.list(project.id)]
            cancelled = await argus.jobs.cancel(job.id)
            ended = await argus.jobs.wait(job.id)
            await argus.projects.delete(await argus.projects.get(project.id))
            return video, listed, cancelled, ended

    video, listed, cancelled, ended = asyncio.run(do())

    assert listed == [video.id]
    assert cancelled.state is ended.state is JobState.CANCELLED


def test_a_list_goes_on_behind_its_cursor(place, argus):
    project = argus.projects.create("Many").id
    place.sql(
        "insert into videos (project_id, name, size_bytes)"
        " select %s, 'v' || n, 1 from generate_series(1, 250) n", project,
    )  # fmt: skip

    names = {video.name for video in argus.videos.list(project)}

    assert len(names) == 250


def test_errors_are_what_a_person_can_do_about_them(place, argus, project):
    with pytest.raises(InvalidRequest, match="is not an id"):
        argus.videos.get("../projects")
    with pytest.raises(NotFound):
        argus.videos.get(project)
    with pytest.raises(InvalidRequest, match="name") as refused:
        argus.projects.update(
            argus.projects.get(project), ProjectUpdate.model_construct(name="x" * 300, _fields_set={"name"})
        )
    assert refused.value.facts["errors"][0]["pointer"] == "/name"
    assert refused.value.facts["request_id"]
    old = argus.projects.get(project)
    argus.projects.update(old, ProjectUpdate(name="Street 2"))
    with pytest.raises(PreconditionFailed) as stale:
        argus.projects.update(old, ProjectUpdate(name="Street 3"))
    assert stale.value.facts["current_version"] == old.version + 1
    with Client(place.url, place.issuer.token("eve@example.org")) as eve, pytest.raises(NotFound):
        eve.projects.get(project)
    with Client(place.url, "argus_of-nobody") as nobody, pytest.raises(Unauthenticated):
        nobody.me.get()


# -- uploads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, PART, SIZE], ids=["one PUT", "one part", "five parts"])
def test_a_file_arrives_whole_and_progress_only_grows_to_its_size(place, argus, project, tmp_path, size):
    file, told = a_file(tmp_path, size), []

    video = argus.videos.upload(project, file, progress=lambda sent, of: told.append((sent, of)))

    assert stored(place, video) == file.read_bytes()
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert told[-1] == (size, size)
    assert video.state is VideoState.UPLOADED


def test_bytes_that_the_project_has_are_not_sent_again(argus, project, line, tmp_path):
    file, told = a_file(tmp_path, MEBIBYTE), []
    first = argus.videos.upload(project, file)
    before = line.sent_bytes

    again = argus.videos.upload(project, file, progress=lambda sent, of: told.append((sent, of)))

    assert again.id == first.id
    assert line.sent_bytes == before
    assert told == [(MEBIBYTE, MEBIBYTE)]


@pytest.mark.parametrize("size", [3 * MEBIBYTE, SIZE], ids=["one PUT", "five parts"])
def test_an_upload_that_was_killed_sends_only_what_has_not_arrived(place, argus, project, line, cache, tmp_path, size):
    file = a_file(tmp_path, size)
    before = line.sent_bytes
    program = f"""
import sys
from argus_ray.client import Client

def progress(sent, size):
    if sent > 0.7 * size:
        print("most is sent", flush=True)
        sys.stdin.read()  # until it is killed

Client({place.url!r}, {place.issuer.token("ana@example.org")!r}).videos.upload({str(project)!r}, {str(file)!r}, progress=progress)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"most is sent\n"
        child.kill()
    wait_until(line.is_idle)  # what was on its way arrives, or does not
    (upload,) = place.sql(
        "select id, video_id, kind from uploads where state = 'open' order by created_at desc limit 1"
    )
    arrived = (
        sum(part.size_bytes for part in argus.uploads.arrived(upload["id"])) if upload["kind"] == "multipart" else 0
    )
    begun, told = line.sent_bytes - before, []

    video = argus.videos.upload(project, file, progress=lambda sent, _: told.append(sent))

    assert video.id == upload["video_id"]
    assert stored(place, video) == file.read_bytes()
    assert line.sent_bytes - before - begun < size - arrived + 20_000  # headers; S3 may end a part meanwhile
    assert told[0] >= arrived
    assert told[-1] == size
    assert [*(cache / "argus" / "uploads").iterdir()] == []


def test_an_upload_that_was_killed_before_it_was_completed_sends_nothing_again(place, argus, project, line, tmp_path):
    file = a_file(tmp_path, MEBIBYTE)
    program = f"""
import os, signal
from argus_ray.client import Client

argus = Client({place.url!r}, {place.issuer.token("ana@example.org")!r})
send = argus.send
def killed_at_complete(call):
    if call.path.endswith("/complete"):
        os.kill(os.getpid(), signal.SIGKILL)
    return send(call)
argus.send = killed_at_complete
argus.videos.upload({str(project)!r}, {str(file)!r})
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    before = line.sent_bytes

    video = argus.videos.upload(project, file)

    assert video.state is VideoState.UPLOADED
    assert stored(place, video) == file.read_bytes()
    assert line.sent_bytes == before


def test_s3_may_go_away_in_the_middle_and_come_back(place, argus, project, line, tmp_path):
    file, told, begin = a_file(tmp_path, SIZE), [], line.sent_bytes
    gone = threading.Event()

    def watch(sent: int) -> None:
        if sent > begin + SIZE // 2 and not gone.is_set():
            gone.set()
            line.cut()

    def progress(sent: int, _: int) -> None:
        told.append(sent)

    line.watch = watch
    with ThreadPoolExecutor(1) as other:
        upload = other.submit(argus.videos.upload, project, file, progress=progress)
        assert gone.wait(60)
        line.mend()
        video = upload.result(60)
    line.watch = lambda _: None

    assert stored(place, video) == file.read_bytes()
    assert told == sorted(set(told))
    assert told[-1] == SIZE


def test_expired_urls_are_renewed(place, argus, project, tmp_path, monkeypatch):
    file = a_file(tmp_path, SIZE)
    short = place.settings.model_copy(update={"url_expires_s": 0})
    first = []

    def expired(tx, s3, settings, project_id, new):
        first.append(True)
        return start(tx, s3, short, project_id, new)

    from argus_ray import uploads

    start = uploads.start
    monkeypatch.setattr(uploads, "start", expired)

    video = argus.videos.upload(project, file)

    assert first
    assert stored(place, video) == file.read_bytes()


def test_a_file_that_changes_meanwhile_is_refused_and_leaves_nothing(place, argus, project, tmp_path, cache):
    file = a_file(tmp_path, SIZE)

    def progress(sent: int, size: int) -> None:
        if sent == size:
            os.utime(file, ns=(1, 1))

    with pytest.raises(Conflict, match="changed while it was being uploaded"):
        argus.videos.upload(project, file, progress=progress)

    assert place.sql("select state from uploads order by created_at desc limit 1") == [{"state": "aborted"}]
    assert [*(cache / "argus" / "uploads").iterdir()] == []


def test_a_file_that_becomes_shorter_meanwhile_is_refused(argus, project, tmp_path):
    file = a_file(tmp_path, SIZE)

    with pytest.raises(Conflict, match="changed while it was being uploaded"):
        argus.videos.upload(project, file, progress=lambda _sent, _size: os.truncate(file, 10))


def test_what_is_no_file_with_bytes_says_what_it_is(argus, project, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")

    for name, said in {
        "empty.mp4": "is empty",
        "": "is a folder",
        "link.mp4": "is a link to .*nowhere.mp4', which is not there",
        "loop.mp4": "cannot be read: Too many levels",
        "pipe.mp4": "no ordinary file",
        "none.mp4": "is not there",
    }.items():
        with pytest.raises(InvalidRequest, match=said):
            argus.videos.upload(project, tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(argus, project, tmp_path):
    file = a_file(tmp_path)
    file.chmod(0)

    with pytest.raises(InvalidRequest, match="cannot be read: Permission denied"):
        argus.videos.upload(project, file)


def test_names_of_any_script_and_of_none_are_kept_as_well_as_they_can(argus, project, tmp_path):
    assert argus.videos.upload(project, a_file(tmp_path, name="улица 東京 🚗.mp4")).name == "улица 東京 🚗.mp4"
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/clip\xe9.mp4"))
    odd.write_bytes(os.urandom(100))
    assert argus.videos.upload(project, odd).name == "clip\ufffd.mp4"
    long = a_file(tmp_path, name="x" * 246 + ".mp4")
    assert argus.videos.upload(project, long).name == "x" * 196 + ".mp4"


def test_what_the_server_refuses_is_refused_before_a_byte_is_sent(place, argus, project, line, tmp_path):
    file = tmp_path / "huge.mp4"
    with file.open("wb") as out:
        out.truncate(101 * MEBIBYTE)
    before = line.sent_bytes

    with pytest.raises(VideoTooLarge, match="the limit is"):
        argus.videos.upload(project, file)
    assert line.sent_bytes == before

    viewer = argus.members.invite(project, "vera@example.org", Role.VIEWER)
    with Client(place.url, place.issuer.token("vera@example.org")) as vera:
        vera.me.get()
        with pytest.raises(Forbidden):
            vera.videos.upload(project, a_file(tmp_path))
    argus.members.remove(project, viewer.id)


def test_an_upload_that_was_swept_begins_anew(place, argus, project, line, tmp_path):
    file = a_file(tmp_path, SIZE)

    def progress(sent: int, size: int) -> None:
        if sent > size // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        argus.videos.upload(project, file, progress=progress)
    place.sql("update uploads set expires_at = now() - interval '1 s' where state = 'open'")

    video = argus.videos.upload(project, file)

    assert stored(place, video) == file.read_bytes()


def test_where_the_cache_cannot_be_written_an_upload_works_all_the_same(argus, project, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert argus.videos.upload(project, a_file(tmp_path, SIZE)).state is VideoState.UPLOADED


def test_twenty_asynchronous_uploads_at_once_do_not_wait_for_each_other(place, aio, project, tmp_path):
    files = [a_file(tmp_path, 1000, f"{number}.mp4") for number in range(20)]

    async def do() -> list:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with aio() as argus:
            return await asyncio.wait_for(asyncio.gather(*(argus.videos.upload(project, file) for file in files)), 60)

    videos = asyncio.run(do())

    assert len({video.id for video in videos}) == 20


def test_an_asynchronous_upload_is_cancelled_in_the_middle_and_goes_on_later(
    place, aio, argus, project, line, tmp_path
):
    file = a_file(tmp_path, SIZE)

    async def do() -> None:
        async with aio() as client:
            middle = asyncio.Event()

            def progress(sent: int, size: int) -> None:
                if sent > size // 2:
                    middle.set()

            upload = asyncio.create_task(client.videos.upload(project, file, progress=progress))
            await middle.wait()
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload

    asyncio.run(do())
    for thread in threading.enumerate():
        if thread.name.startswith("argus-upload"):
            thread.join(10)
            assert not thread.is_alive()
    assert stored(place, argus.videos.upload(project, file)) == file.read_bytes()


# -- a broken line -------------------------------------------------------------------------------


def test_what_may_be_sent_twice_survives_a_broken_line(place, project):
    with Line(place.url) as line, Client(line.url, place.issuer.token("ana@example.org")) as argus:
        argus.me.get()
        line.cut()
        threading.Timer(0.3, line.mend).start()

        made = argus.projects.create("Twice")

        assert [one.name for one in argus.projects.list()].count("Twice") == 1
        assert argus.projects.get(made.id) == made


def test_what_may_not_be_sent_twice_is_not(place, argus, project):
    with Line(place.url) as line, Client(line.url, place.issuer.token("ana@example.org")) as client:
        seen = client.projects.get(project)
        line.cut()

        with pytest.raises(Unavailable, match="does not answer"):
            client.projects.update(seen, ProjectUpdate(name="once"))

    assert argus.projects.get(project).version == seen.version


def test_where_nothing_listens_the_error_names_the_address(place):
    with Line(place.url) as line:
        url = line.url
    with Client(url, "key") as argus, pytest.raises(Unavailable, match=rf"{url} does not answer"):
        argus.send(replace(Account.get(), tries=1))
