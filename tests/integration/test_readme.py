"""The README's examples, executed as they are printed: real API, S3, Postgres, Ray and the demo weights.

Blocks of one language after another, as a reader types them. Only their addresses, keys and files are given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from argus_ray import weights
from argus_ray.settings import DEMO_SAM3
from argus_ray.synthetic.scene import random_scene
from argus_ray.synthetic.video import encode_video, plan_video
from tests.desk import desk, new_email
from tests.ingesting import Place, running
from tests.served_sam3 import InProcess
from tests.working import working

ROOT = Path(__file__).parent.parent.parent
PASSWORD = "correct horse battery"
RED_CAR = ("red", "car")
ELSEWHERE = ("make demo", "argus up ", "ray job submit")
"""Blocks that begin a whole stack or need one: tests of the stack and of the demo run what they say."""

BLOCKS = [
    (language, text)
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    if not any(begin in text for begin in ELSEWHERE)
]
SHELL = [text for language, text in BLOCKS if language == "sh" and "curl" not in text]
CURL = [text for language, text in BLOCKS if language == "sh" and "curl" in text]
PYTHON = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the reader types, with a folder of drawn videos."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(3)
    for name in ("street", "gate"):
        scene = random_scene(rng, 1, sizes=(0.3, 0.36), allow=lambda colour, shape: (colour, shape) == RED_CAR)
        encode_video(folder / "clips" / f"{name}.mp4", plan_video(rng, 2, scenes=[scene], size=(640, 360)))
    return folder


@pytest.fixture(scope="module")
def place(postgres, s3, supabase, ray_cluster, folder):
    """An Argus in which a run waits for work."""
    sam3 = InProcess(Path(DEMO_SAM3), s3)
    changes = {"device": "cpu", "extractors": 1, "scratch": folder, "lease_s": 10, "sam3": sam3, "sam3_model": sam3.uri}
    with desk(postgres, s3, supabase, **changes) as place:
        owner = place.library.settings.model_copy(update={"database_url": SecretStr(place.owner_url)})
        weights.register_sam3(owner, sam3.uri)
        here = Place(place.library.settings, place.library.owner, s3.client(), project_id=uuid4())
        with closing(here.s3), running(here), working(place.library):
            yield place


@pytest.fixture(scope="module")
def reader(place, folder):
    """The environment of a reader who has done what the shell example says: it is executed here."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "ARGUS_URL": place.url,
        "ARGUS_PASSWORD": PASSWORD,
    }
    typed = "".join(SHELL).replace("me@example.com", new_email())
    done = bash(typed + 'echo "$ARGUS_PROJECT"\necho "$VIDEO"\nargus keys create readme\n', environment, folder)
    *printed, project, video, key = done.splitlines()
    return SimpleNamespace(
        printed=printed,
        project=project,
        key=key,
        environment={**environment, "ARGUS_PROJECT": project, "VIDEO": video, "ARGUS_API_KEY": key},
    )


def bash(text: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def test_there_is_an_example_for_each_way_in():
    assert SHELL
    assert CURL
    assert PYTHON


def test_the_shell_example_uploads_waits_and_finds(reader):
    videos = [line for line in reader.printed if "\tready\t" in line]
    hits = [line for line in reader.printed if re.match(r"\w+\.mp4\t\d+\t", line)]

    assert len(videos) == 2
    assert hits


def test_the_shell_example_finds_follows_shows_and_exports(reader, folder):
    assert any(" frames in " in line for line in reader.printed)
    with Image.open(folder / "street.png") as sheet:
        assert sheet.width > 400
    with av.open(str(folder / "street.mp4")) as clip:
        assert clip.streams.video[0].frames == 50
    with zipfile.ZipFile(folder / "cars.zip") as export:
        assert any(name.endswith(".jpg") for name in export.namelist())


@pytest.mark.parametrize("text", PYTHON)
def test_the_python_examples_run_as_they_are_printed(place, reader, folder, monkeypatch, capsys, text):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    exec(compile(text, "README.md", "exec"), {"url": place.url, "api_key": reader.key, "project": reader.project})

    assert re.search(r"\w+\.mp4 ", capsys.readouterr().out)


@pytest.mark.parametrize("text", CURL)
def test_the_curl_examples_answer_what_they_ask(reader, folder, text):
    answer = json.loads(bash(text, reader.environment, folder))

    assert answer["items"]
