from __future__ import annotations

import json
import logging

import pytest

from argus_ray.telemetry import JsonLines


def record(**more) -> logging.LogRecord:
    made = logging.LogRecord("argus", logging.WARNING, "f.py", 1, "run %s ends", ("r1",), more.pop("exc_info", None))
    vars(made).update(more)
    return made


def test_a_json_line_has_the_message_and_what_was_passed_beside_it():
    line = json.loads(JsonLines().format(record(video_id="v1")))
    assert line["message"] == "run r1 ends"
    assert (line["level"], line["logger"], line["video_id"]) == ("warning", "argus", "v1")
    assert line["at"].endswith("+00:00")


def test_an_exception_stays_on_its_line():
    with pytest.raises(ValueError, match="it broke") as raised:
        int("it broke")
    text = JsonLines().format(record(exc_info=raised._excinfo))
    assert "\n" not in text
    assert "it broke" in json.loads(text)["exception"]
