from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import pytest
from pydantic import ValidationError

from argus_ray.cli.inputs import json_object, moment, policy
from argus_ray.cli.output import exit_code, invalid, plain, show, show_one
from argus_ray.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    VideoTooLarge,
)
from argus_ray.schemas.project import SignIn
from argus_ray.schemas.video import SamplingPolicy

ROW = SignIn(supabase_url="http://a\x1b[2J\n", publishable_key="é\u202e")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError, 1),
        (Unauthenticated, 3),
        (Forbidden, 3),
        (NotFound, 4),
        (Conflict, 5),
        (VideoTooLarge, 5),
        (TooManyRequests, 6),
        (Unavailable, 6),
    ],
)
def test_an_error_has_the_exit_code_of_its_kind(error, code):
    assert exit_code(error("so")) == code


def test_what_a_terminal_would_obey_is_shown_as_a_mark():
    assert plain("a\x1b[31m\tb\u202ec\x9bd\n東") == "a�[31m�b�c�d 東"


def test_rows_are_tab_separated_where_there_is_no_terminal(capsys):
    show([ROW], ("supabase_url", "publishable_key"), as_json=False)

    assert capsys.readouterr().out == "http://a�[2J \té�\n"


def test_json_is_one_ascii_line_a_row(capsys):
    show([ROW, ROW], (), as_json=True)
    show_one(ROW, as_json=True)

    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [ROW.model_dump()] * 3
    assert all(line.isascii() for line in lines)


def test_input_that_a_schema_refuses_is_a_sentence():
    with pytest.raises(ValidationError) as refused:
        SamplingPolicy(fps=-1)
    said = invalid(refused.value)

    assert isinstance(said, click.UsageError)
    assert said.message == "fps: Input should be greater than 0"


def test_policies_metadata_and_moments_are_read_or_refused_in_a_sentence():
    assert policy('{"policy": "scenes"}') == SamplingPolicy(policy="scenes")
    assert json_object('{"camera": 3}') == {"camera": 3}
    assert moment("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    for read, text, said in [
        (policy, '{"policy": "uniform"}', "the policy uniform needs a count"),
        (policy, "fps", "Invalid JSON"),
        (json_object, "[1]", "not a JSON object"),
        (json_object, "{", "not JSON"),
        (moment, "soon", "no date or time"),
    ]:
        with pytest.raises(click.BadParameter, match=said) as refused:
            read(text)
        assert "\n" not in refused.value.message
