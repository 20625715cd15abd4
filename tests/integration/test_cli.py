"""The `argus` command against the API on a real port, people of the local Supabase, real Postgres and S3."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import click
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import SecretStr

from argus_ray import weights
from argus_ray.cli import cli, session
from argus_ray.client import SessionAuth
from argus_ray.errors import Unauthenticated
from argus_ray.synthetic.video import encode_video, plan_video
from tests import tiny_sam3
from tests.desk import Command, desk, new_email
from tests.library import MEBIBYTE
from tests.line import Line
from tests.served_sam3 import InProcess

PASSWORD = "correct horse battery"
ELSEWHERE = {"up", "status", "down", "doctor", "demo", "models register", "models add", "datasets diff", "verify"}
"""Examples of what starts, stops or sets up a whole stack, and of frozen manifests and exports: tests of those run them."""


@pytest.fixture(scope="module")
def place(postgres, s3, supabase, tmp_path_factory):
    sam3 = InProcess(tiny_sam3.write(tmp_path_factory.mktemp("sam3")), s3)
    changes = {"import_prefixes": [f"s3://{s3.bucket}/inbox"], "sam3": sam3, "sam3_model": sam3.uri}
    with desk(postgres, s3, supabase, **changes) as place:
        owner = place.library.settings.model_copy(update={"database_url": SecretStr(place.owner_url)})
        weights.register_sam3(owner, sam3.uri)
        yield place


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of one's own, where nobody is signed in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("ARGUS_URL", "ARGUS_API_KEY", "ARGUS_PROJECT", "ARGUS_EMAIL", "ARGUS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def argus(home, monkeypatch, capfd):
    return Command(monkeypatch, capfd)


@pytest.fixture
def signed_in(place, argus):
    """The e-mail of somebody who has signed in."""
    email = new_email()
    argus.ok("--url", place.url, "login", "--email", email, "--new", ARGUS_PASSWORD=PASSWORD)
    return email


@pytest.fixture
def project(argus, signed_in):
    return argus.ok("projects", "create", "Street").strip()


def a_clip(folder: Path, name: str = "clip.mp4", size: int = 1000) -> Path:
    path = folder / name
    path.write_bytes(random.Random(os.urandom(8)).randbytes(size))
    return path


def child(*words: object, **more) -> subprocess.Popen:
    """`argus` in a process of its own, in this test's home."""
    return subprocess.Popen([sys.executable, "-m", "argus_ray.cli", *map(str, words)], text=True, **more)


# -- who one is ----------------------------------------------------------------------------------


def test_a_session_is_kept_for_its_owner_alone_and_ended_by_logout(place, argus, signed_in):
    kept = session.load()
    assert stat.S_IMODE(session.path().stat().st_mode) == 0o600
    assert stat.S_IMODE(session.path().parent.stat().st_mode) == 0o700
    assert json.loads(argus.ok("whoami", "--json"))["email"] == signed_in

    argus.ok("logout")

    assert argus("whoami").code == 3
    with pytest.raises(Unauthenticated, match="session has ended"):
        SessionAuth(kept.credentials.model_copy(update={"expires_at": 0})).token()
    assert "nobody was signed in" in argus("logout").err


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ((), {}, "which Argus"),
        (("--url", "http://127.0.0.1:1"), {}, "e-mail is missing"),
        (("--url", "http://127.0.0.1:1"), {"ARGUS_EMAIL": "a@example.org"}, "password is missing"),
    ],
)
def test_without_a_terminal_nobody_is_asked(argus, words, environment, said):
    asked = argus(*words, "login", **environment)

    assert asked.code == 2
    assert said in asked.err


def test_a_password_is_read_from_standard_input_where_that_is_said(place, argus, signed_in):
    argus.ok("login", "--email", signed_in, "--password-stdin", stdin=PASSWORD + "\n")

    wrong = argus("login", "--email", signed_in, "--password-stdin", stdin="something else\n")
    assert (wrong.code, wrong.err) == (3, "argus: Invalid login credentials\n")
    taken = argus("login", "--new", "--email", signed_in, ARGUS_PASSWORD=PASSWORD)
    assert (taken.code, taken.out) == (5, "")


def test_a_damaged_session_says_what_to_do_and_login_replaces_it(place, argus, signed_in):
    session.path().write_bytes(b'{"url": \xff')

    found = argus("whoami")

    assert found.code == 3
    assert "is damaged: run `argus login` again" in found.err
    argus.ok("--url", place.url, "login", "--email", signed_in, ARGUS_PASSWORD=PASSWORD)
    argus.ok("whoami")


def test_commands_at_once_renew_a_session_once(place, argus, signed_in):
    old = session.load()
    session.save(old.model_copy(update={"credentials": old.credentials.model_copy(update={"expires_at": 0})}))

    with ThreadPoolExecutor(6) as commands:  # each with an auth of its own, as commands have
        expired = session.load().credentials
        tokens = [*commands.map(lambda _: SessionAuth(expired, session.renew).token(), range(6))]

    assert len(set(tokens)) == 1
    assert session.load().credentials.access_token == tokens[0]
    argus.ok("whoami")


def test_a_token_that_is_refused_is_renewed_once(place, argus, signed_in):
    kept = session.load()
    forged = kept.credentials.model_copy(update={"access_token": kept.credentials.access_token[:-8] + "AAAAAAAA"})
    session.save(kept.model_copy(update={"credentials": forged}))

    assert signed_in in argus.ok("whoami")
    assert session.load().credentials.refresh_token != forged.refresh_token


def test_an_api_key_acts_without_a_session(place, argus, project, tmp_path, monkeypatch):
    key = argus.ok("keys", "create", "nightly", "--expires", "2999-01-01", "--project", project).strip()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))

    assert argus("projects", "list", ARGUS_API_KEY=key).code == 1  # says that it needs an address
    assert project in argus.ok("projects", "list", ARGUS_API_KEY=key, ARGUS_URL=place.url)
    broken = argus("projects", "list", ARGUS_API_KEY=key + "\n", ARGUS_URL=place.url)
    assert broken.code == 3
    assert key not in broken.err


# -- exit codes ----------------------------------------------------------------------------------


def test_exit_codes_tell_what_kind_of_failure_it_was(place, argus, project, tmp_path):
    other = "00000000-0000-4000-8000-000000000000"
    assert argus("videos", "show", other).code == 4
    assert argus("videos", "show", "17").code == 2
    assert argus("upload", "--project", project, tmp_path / "none.mp4").code == 2
    assert argus("upload", tmp_path / "none.mp4").code == 2
    assert argus("search", "--project", project).code == 2
    assert argus("videos", "list", "--project", project, "--metadata", "[1]").code == 2
    assert argus("members", "invite", "nobody", "--project", project).code == 2
    assert argus("projects", "create", "x" * 300).code == 2
    assert argus("projects", "delete", project).code == 2  # nobody to ask
    member = json.loads(argus.ok("members", "list", "--project", project, "--json"))
    assert argus("members", "remove", member["id"], "--project", project).code == 5  # the last owner
    assert argus("--url", "http://127.0.0.1:1", "whoami").code == 3
    assert argus("no-such-command").code == 2


def test_errors_are_one_sentence_on_stderr(argus, project):
    for words in (
        ("projects", "create", "x" * 300),
        ("projects", "update", project, "--sampling", '{"policy": "uniform"}'),
        ("videos", "list", "--project", project, "--metadata", "{"),
        ("members", "invite", "nobody", "--project", project),
        ("videos", "show", project),
    ):
        said = argus(*words)
        assert said.out == ""
        assert "Traceback" not in said.err
        assert len([line for line in said.err.splitlines() if line.startswith(("argus:", "Error:"))]) == 1


def test_a_host_that_is_not_there_is_exit_6_and_a_sentence(argus):
    said = argus("--url", "http://no-such-host.invalid", "login", "--email", "a@example.org", ARGUS_PASSWORD="x" * 10)

    assert said.code == 6
    assert said.err.startswith("argus: http://no-such-host.invalid ")
    assert len(said.err.splitlines()) == 1


def test_what_answers_and_is_no_argus_is_named(argus, s3):
    said = argus("--url", s3.endpoint, "login", "--email", "a@example.org", ARGUS_PASSWORD="x" * 10)

    assert said.code == 6
    assert "not as" in said.err


# -- output --------------------------------------------------------------------------------------


def test_names_cannot_move_a_cursor_and_json_is_ascii(place, argus, project):
    name = "\x1b[31mred\n\u202egpj.exe 東京"
    place.library.sql("update projects set name = %s where id = %s", name, project)

    shown, asked = argus.ok("projects", "list"), argus.ok("projects", "list", "--json")

    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 1
    assert "東京" in shown
    assert asked.isascii()
    assert json.loads(asked)["name"] == name


def test_a_table_on_a_terminal_shows_ids_whole(place, argus, project, home):
    import pty

    place.library.sql("update projects set name = '[bold]:smile:[/]' where id = %s", project)
    near, far = pty.openpty()
    with child("projects", "list", stdout=far) as listing:
        os.close(far)
        assert listing.wait(60) == 0
    shown = os.read(near, 10_000).decode()
    os.close(near)

    assert project in shown
    assert "[bold]:smile:[/]" in shown


def test_output_that_is_not_utf8_does_not_fail(place, argus, project, home):
    place.library.sql("update projects set name = '東京 é' where id = %s", project)

    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    with child("projects", "list", stdout=subprocess.PIPE, encoding="latin-1", env=latin) as listing:
        out, _ = listing.communicate(timeout=60)

    assert listing.returncode == 0
    assert "\\u6771\\u4eac é" in out


def test_a_reader_that_goes_early_is_no_error(place, argus, project, home):
    place.library.sql(
        "insert into videos (project_id, name, size_bytes) select %s, repeat('v', 190), 1 from generate_series(1, 2000)",
        project,
    )
    with child("videos", "list", "--project", project, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout.readline()
        listing.stdout.close()
        err = listing.stderr.read()

    assert (listing.returncode, err) == (141, "")


def test_an_interrupt_is_exit_130(place, argus, project, home, tmp_path):
    with (
        Line(place.url) as line,
        child("--url", line.url, "--api-key", "argus_x", "whoami", stderr=subprocess.PIPE) as waiting,
    ):
        line.hold()
        reached = threading.Event()
        line.watch = lambda _: reached.set()
        assert reached.wait(60)
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)

    assert (waiting.returncode, err.strip()) == (130, "argus: interrupted")


def test_help_is_quick_and_loads_nothing_heavy():
    program = (
        "import sys, resource; from argus_ray.cli import cli; cli.main(['--help'], standalone_mode=False);"
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime);"
        "print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    *_, seconds, modules = out.splitlines()
    assert not {"ray", "torch", "numpy", "boto3", "psycopg", "pyarrow", "supabase_auth", "av"} & set(modules.split())
    assert float(seconds) < 1  # of CPU; 0.3 on a quiet machine


# -- work ----------------------------------------------------------------------------------------


def test_a_file_that_is_refused_does_not_stop_the_others(argus, project, tmp_path):
    (tmp_path / "empty.mp4").touch()

    said = argus(
        "upload", "--project", project, a_clip(tmp_path, "a.mp4"), tmp_path / "empty.mp4", a_clip(tmp_path, "b.mp4")
    )

    assert said.code == 1
    assert len(said.ids) == 2
    assert "empty.mp4' is empty" in said.err


def test_waiting_tells_what_became_of_each(place, argus, project, tmp_path):
    good, bad = a_clip(tmp_path, "good.mp4"), a_clip(tmp_path, "bad.mp4")
    reason = '{"type": "not-a-video", "detail": "it is noise"}'

    def ingest() -> None:
        ended = 0
        while ended < 2:
            for job in place.library.sql(
                "select j.id, j.project_id, j.video_id, v.name from jobs j join videos v on v.id = j.video_id"
                " where j.project_id = %s and j.state = 'queued'", project,
            ):  # fmt: skip
                ended += 1
                if job["name"] == "good.mp4":
                    place.library.make_ready(job, 0)
                    continue
                place.library.sql("update segments set state = 'failed' where job_id = %s", job["id"])
                place.library.sql(
                    "update jobs set state = 'failed', finished_at = now(), reason = %s where id = %s",
                    reason,
                    job["id"],
                )
                place.library.sql(
                    "update videos set state = 'failed', reason = %s where id = %s", reason, job["video_id"]
                )

    with ThreadPoolExecutor(1) as other:
        work = other.submit(ingest)
        said = argus("upload", "--wait", "--json", "--project", project, good, bad)
        work.result()

    assert said.code == 1
    assert [json.loads(line)["state"] for line in said.out.splitlines()] == ["ready", "failed"]
    assert said.err.splitlines()[-1] == "argus: bad.mp4: it is noise"


def test_frames_are_exported_once_and_named_in_a_table(place, argus, project, tmp_path):
    (video,) = argus.ok("upload", "--project", project, a_clip(tmp_path)).split()
    place.make_ready(video, [np.full((48, 64, 3), shade, np.uint8) for shade in (10, 120, 240)])

    out = argus.ok("frames", "export", video, "--to", tmp_path / "frames")

    table = pq.read_table(out.strip()).to_pylist()
    assert [row["pts_us"] for row in table] == [0, 1_000_000, 2_000_000]
    with Image.open(tmp_path / "frames" / table[0]["file"]) as picture:
        assert picture.size == (64, 48)
    files = sorted((tmp_path / "frames" / video).iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    assert json.loads(argus.ok("frames", "export", video, "--to", tmp_path / "frames", "--json"))["frames"] == 3
    assert [file.stat().st_mtime_ns for file in files] == before
    assert argus("frames", "export", video, "--to", "/proc/none").code == 1


def test_an_upload_shows_a_bar_on_a_terminal_whatever_the_file_is_called(place, argus, project, home, tmp_path):
    import pty

    near, far = pty.openpty()
    file = a_clip(tmp_path, "[bold] 東京.mp4", MEBIBYTE)
    with child("upload", "--project", project, file, stdout=subprocess.PIPE, stderr=far) as uploading:
        os.close(far)
        out = uploading.stdout.read()
    shown = os.read(near, 100_000).decode(errors="replace")
    os.close(near)

    assert uploading.returncode == 0
    assert len(out.split()) == 1
    assert "[bold] 東京.mp4" in shown


# -- concepts and pictures -----------------------------------------------------------------------


@pytest.fixture
def drawn(place, argus, project, tmp_path):
    """A ready video of two seconds in the project, what it shows, and a label."""
    file = tmp_path / "drawn.mp4"
    truth = plan_video(np.random.default_rng(5), 2, scenes=1, size=(320, 180))
    encode_video(file, truth)
    (video,) = argus.ok("upload", "--project", project, file).split()
    place.make_ready(video, [truth.drawing_at(pts_us).rgb for pts_us in (0, 1_000_000)])
    return video, truth, argus.ok("labels", "create", "red car", "--project", project).strip()


def test_work_is_asked_for_by_the_names_of_labels_and_told_in_words(argus, project, drawn):
    _, _, label = drawn
    estimate = argus.ok("autolabel", "Red  Car", "--estimate", "--project", project)
    assert estimate.startswith("2 frames in ")

    job = argus.ok("autolabel", label, "--query", "red car", "--limit", "1", "--project", project).strip()
    shown = argus.ok("jobs", "show", job)
    assert "progress: 0%" in shown
    assert "estimate: 1 frames in 1 segments, an unknown time (nothing was measured yet" in shown

    unknown = argus("track", "blue car", "--project", project)
    assert (unknown.code, unknown.out) == (5, "")
    assert "it has red car; make it with" in unknown.err


def test_what_a_model_finds_in_a_frame_is_printed_and_kept_where_that_is_said(place, argus, project, drawn):
    video, _, label = drawn
    frame = argus.ok("frames", "list", video).split()[0]

    found = json.loads(argus.ok("predict", frame, "--text", "red car", "--threshold", "0", "--json"))
    assert found["method"] == "sam3"
    assert {"score", "mask", "box"} <= found["items"][0].keys()
    assert argus("predict", frame, "--box", "0.1,0.2,0.3").code == 2

    argus.ok("predict", frame, "--label", label, "--threshold", "0", "--save")
    proposed = argus.ok("annotations", "list", video, "--state", "proposed").splitlines()
    assert len(proposed) == len(found["items"])


def test_a_video_is_shown_as_a_sheet_and_its_tracks_in_motion(place, argus, project, drawn, tmp_path):
    video, truth, label = drawn
    nothing = argus("show", video, "--out", tmp_path / "sheet.png")
    assert nothing.code == 5
    assert "there is nothing to draw" in nothing.err
    (track,) = place.library.sql(
        "insert into tracks (project_id, video_id, label_id, start_us, end_us, source, state)"
        " values (%s, %s, %s, 0, 0, 'human', 'accepted') returning id", project, video, label,
    )  # fmt: skip
    for pts_us, x in ((0, 0.1), (1_000_000, 0.5)):
        box = {"x": x, "y": 0.2, "w": 0.3, "h": 0.4}
        new = {"video_id": video, "pts_us": pts_us, "label_id": label, "track_id": str(track["id"]), "box": box}
        argus.ok("annotations", "create", json.dumps(new), "--project", project)

    sheet, clip = tmp_path / "sheet.png", tmp_path / "clip.mp4"
    assert argus.ok("show", video, "--out", sheet).strip() == str(sheet)
    argus.ok("show", video, "--to", "1", "--out", clip)

    with Image.open(sheet) as picture:
        assert picture.width > 400
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 25
    for picture, pts_us, left in ((pictures[0], 0, 32), (pictures[-1], 960_000, 155)):  # the box moves
        painted = np.abs(picture.astype(int) - truth.drawing_at(pts_us).rgb).max(axis=2)[60:90] > 50
        assert painted[:, left - 4 : left + 5].any(axis=1).all()
    assert argus("show", project, "--out", clip).code == 4


# -- help ----------------------------------------------------------------------------------------


def _examples(group: click.Group = cli, words: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Every command, and the example in its help."""
    found = []
    for name, command in group.commands.items():
        here = (*words, name)
        if isinstance(command, click.Group):
            found += _examples(command, here)
        else:
            found.append((" ".join(here), (command.help or "").split("\n", 1)[0].partition(": argus ")[2]))
    return found


def test_every_command_has_an_example():
    assert [name for name, example in _examples() if not example] == []


ANNOTATING = {
    *("datasets", "export", "import", "labels", "annotations", "verdicts", "tracks", "review"),
    *("autolabel", "track", "predict", "preview", "show"),
}


def _annotated(place, argus, project, video) -> dict[str, str]:
    """Things of a video with two frames: labels, an annotation and two tracks, one of which a job has joined."""
    if not place.library.sql("select from frames where video_id = %s", video):
        place.make_ready(video, [np.full((48, 64, 3), 99, np.uint8)] * 2)
    label, other_label = (
        argus.ok("labels", "create", name, "--project", project).strip() for name in ("car", "another car")
    )
    argus.ok("labels", "update", label, "--colour", "#0072b2")

    def annotate(pts_us: int, **more: str) -> str:
        box = {"x": 0.1, "y": 0.1, "w": 0.5, "h": 0.5}
        new = {"video_id": video, "pts_us": pts_us, "label_id": label, "box": box, **more}
        return argus.ok("annotations", "create", json.dumps(new), "--project", project).strip()

    def track(*times_us: int) -> str:
        (made,) = place.library.sql(
            "insert into tracks (project_id, video_id, label_id, start_us, end_us, source, state)"
            " values (%s, %s, %s, 0, 0, 'human', 'accepted') returning id",
            project, video, label,
        )  # fmt: skip
        for pts_us in times_us:
            annotate(pts_us, track_id=str(made["id"]))
        return str(made["id"])

    annotation = annotate(0)
    argus.ok("annotations", "update", annotation, '{"occluded": true}')
    followed, other = track(0, 1_000_000), track(2_000_000)
    argus.ok("tracks", "update", followed, '{"attributes": {}, "state": "proposed"}')
    argus.ok("verdicts", "set", label, "partial", "--video", video, "--at", "1", "--project", project)
    place.library.sql(
        "insert into annotations (project_id, video_id, pts_us, label_id, kind, x, y, w, h, source, state, score)"
        " values (%s, %s, 1000000, %s, 'box', 0, 0, 0.5, 0.5, 'model', 'proposed', 0.5)", project, video, other_label,
    )  # fmt: skip
    place.library.sql("""update projects set settings = '{"auto_accept": {"enabled": true}}' where id = %s""", project)
    followed_row = argus.ok("tracks", "show", followed, "--json")
    (link,) = place.library.sql(
        "insert into track_links (project_id, video_id, track_id, border_us) values (%s, %s, %s, 500000) returning id",
        project, video, followed,
    )  # fmt: skip
    assert json.loads(followed_row)["keyframes"] == 2
    dataset = argus.ok("datasets", "create", "things", "--project", project).strip()
    version, other_version = (
        str(row["id"])
        for row in place.library.sql(
            "insert into dataset_versions (project_id, dataset_id, number, schema_version, content_hash, manifest_key,"
            " query, ontology, counts) select %s, %s, n, 1, repeat('0', 64), 'none', '{}', '[]', '{\"frames\": 2}'"
            " from generate_series(1, 2) n returning id", project, dataset,
        )
    )  # fmt: skip
    (frame,) = place.library.sql("select id from frames where video_id = %s and pts_us = 0", video)
    return {
        "FRAME": str(frame["id"]),
        "DATASET": dataset,
        "OTHER_VERSION": other_version,
        "VERSION": version,
        "OTHER_LABEL": other_label,
        "LABEL": label,
        "ANNOTATION": annotation,
        "OTHER_TRACK": other,
        "TRACK": followed,
        "LINK": str(link["id"]),
    }


@pytest.mark.parametrize(("name", "example"), [one for one in _examples() if one[0] not in ELSEWHERE])
def test_the_example_in_the_help_does_what_it_says(
    place, s3, argus, project, signed_in, tmp_path, monkeypatch, name, example
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    s3.client().put_object(Bucket=s3.bucket, Key="inbox/a.mp4", Body=b"bytes")
    (video,) = argus.ok("upload", "--project", project, a_clip(tmp_path / "clips")).split()
    job = json.loads(argus.ok("jobs", "list", "--project", project, "--json"))["id"]
    if name in {"videos list", "videos reingest", "frames list", "frames export", "search"}:
        place.make_ready(video, [np.full((48, 64, 3), 99, np.uint8)] * 2)
    if name == "jobs retry":
        argus.ok("jobs", "cancel", job)
    annotated = _annotated(place, argus, project, video) if name.split()[0] in ANNOTATING else {}
    if name == "review list":
        argus.ok("review", "next", "--project", project)
    (tmp_path / "boxes.json").write_text("{}")
    things = {
        **annotated,
        "PROJECT": project,
        "VIDEO": video,
        "JOB": job,
        "MEMBER": json.loads(argus.ok("members", "invite", new_email(), "--project", project, "--json"))["id"],
        "KEY": json.loads(argus.ok("keys", "create", "k", "--project", project, "--json"))["id"],
        "http://127.0.0.1:8000": place.url,
        "me@example.com": signed_in,
        "s3://bucket/": f"s3://{s3.bucket}/inbox/",
        "clips/*.mp4": "clips/clip.mp4",
    }
    words = shlex.split(example)
    for word, thing in things.items():
        words = [
            given.replace(word, thing)
            if "/" in word or "@" in word or given.startswith("{")
            else thing
            if given == word
            else given
            for given in words
        ]
    said = argus(*words, ARGUS_PASSWORD=PASSWORD)

    assert said.code == 0, said
    if name not in {
        "login",
        "logout",
        "members remove",
        "keys revoke",
        "projects delete",
        "videos delete",
        "jobs list",
        "review thresholds",  # nothing is learnt from one proposal
    }:
        assert said.out
