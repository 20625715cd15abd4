"""A project's events through the client, over the local Supabase's Realtime and the catalogue's own triggers."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from argus_ray.catalog.migrate import migrate
from argus_ray.client import Credentials, SessionAuth, renewed, sign_up
from argus_ray.client.events import events
from argus_ray.errors import Unavailable
from tests.desk import new_email
from tests.line import Line
from tests.local_supabase import PASSWORD, running

LASTS_S = 62
"""Two seconds more than what is renewed at once."""


@pytest.fixture(scope="module")
def supabase(postgres, s3, tmp_path_factory):
    """One with the catalogue in its database, as in a real project."""
    home = tmp_path_factory.mktemp("supabase")
    with running(postgres, s3, home, ARGUS_ACCESS_TOKEN_EXPIRES_S=str(LASTS_S)) as stand_in:
        migrate(stand_in.database_url)
        yield stand_in


@pytest.fixture(scope="module")
def owner(supabase):
    with psycopg.connect(supabase.database_url, autocommit=True, row_factory=dict_row) as owner:
        owner.execute("set search_path = argus, extensions")
        yield owner


@pytest.fixture(scope="module")
def line(supabase):
    with Line(supabase.url) as line:
        yield line


@pytest.fixture
def session(supabase, line):
    """A person whose Supabase is reached over the line."""
    credentials = sign_up(supabase.url, supabase.publishable_key, new_email(), PASSWORD)
    return SessionAuth(credentials.model_copy(update={"supabase_url": line.url}))


@pytest.fixture
def project(owner, supabase, session):
    user = supabase.signing.verify(session.credentials.access_token)["sub"]
    project = owner.execute("insert into projects (name) values ('p') returning id").fetchone()["id"]
    owner.execute(
        "insert into members (project_id, user_id, email, role, joined_at) values (%s, %s, %s, 'viewer', now())",
        (project, user, session.credentials.email),
    )
    return project


def add_video(owner, project: UUID) -> str:
    row = owner.execute(
        "insert into videos (project_id, name, size_bytes) values (%s, 'v', 1) returning id", (project,)
    ).fetchone()
    return str(row["id"])


def test_a_member_hears_of_a_video_and_goes_on_with_renewed_tokens(owner, session, project):
    async def listen() -> tuple:
        loop, renewed_once = asyncio.get_running_loop(), asyncio.Event()

        def renew(old: Credentials) -> Credentials:
            new = renewed(old)
            loop.call_soon_threadsafe(renewed_once.set)
            return new

        lasting = SessionAuth(session.credentials, renew)
        async with asyncio.timeout(60), events(lasting, project) as received:
            first = add_video(owner, project)
            heard = await received.get()
            await renewed_once.wait()
            second = add_video(owner, project)
            return first, heard, second, await received.get()

    first, heard, second, again = asyncio.run(listen())

    assert (heard.kind, heard.payload["id"], heard.payload["state"]) == ("video", first, "awaiting_upload")
    assert again.payload["id"] == second


def test_a_member_hears_what_becomes_of_labels_tracks_annotations_and_verdicts(owner, session, project):
    def change(statement: str, *values: object) -> dict:
        return owner.execute(statement.encode(), values).fetchone()

    async def listen() -> list:
        video = add_video(owner, project)
        async with asyncio.timeout(60), events(session, project) as received:
            label = change(
                "insert into labels (project_id, name, colour, prompts) values (%s, 'car', '#000000', '{car}') returning id",
                project,
            )["id"]
            track = change(
                "insert into tracks (project_id, video_id, label_id, source, state) values (%s, %s, %s, 'human', 'accepted')"
                " returning id", project, video, label,
            )["id"]  # fmt: skip
            change(
                "insert into annotations (project_id, video_id, pts_us, label_id, kind, source, state)"
                " select %s, %s, n, %s, 'tag', 'human', 'accepted' from generate_series(1, 101) n returning id",
                project, video, label,
            )  # fmt: skip
            one = change("update annotations set occluded = true where pts_us = 7 returning id")["id"]
            change(
                "insert into verdicts (project_id, video_id, pts_us, label_id, verdict) values (%s, %s, 5, %s, 'partial')"
                " returning label_id", project, video, label,
            )  # fmt: skip
            return [label, track, one, *[await received.get() for _ in range(5)]]

    label, track, one, *heard = asyncio.run(listen())

    told = [{k: v for k, v in event.payload.items() if k not in {"at", "video_id", "project_id"}} for event in heard]
    for message in told:
        message.pop("id", None)  # of the message: Supabase's own
    assert [event.kind for event in heard] == ["labels", "tracks", "annotations", "annotations", "verdicts"]
    assert told[:2] == [
        {"changed": 1, "ids": [str(label)], "action": "insert"},
        {"changed": 1, "ids": [str(track)], "action": "insert", "from_us": 0, "to_us": 0},
    ]
    # many are told by their times alone
    assert told[2] == {"changed": 101, "action": "insert", "from_us": 1, "to_us": 101}
    assert told[3] == {"changed": 1, "ids": [str(one)], "action": "update", "from_us": 7, "to_us": 7}
    assert (told[4]["changed"], told[4]["from_us"]) == (1, 5)


# the realtime package's own, when it reports why the connection was lost
@pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ConnectionClosed.reason is deprecated:DeprecationWarning")
def test_a_connection_that_was_lost_is_told_as_a_gap(owner, session, project, line):
    async def listen() -> list:
        async with asyncio.timeout(60), events(session, project) as received:
            line.cut()
            line.mend()
            gap = await received.get()
            video = add_video(owner, project)
            return [gap.kind, (await received.get()).payload["id"] == video]

    assert asyncio.run(listen()) == ["gap", True]


def test_who_is_no_member_is_not_let_in(session):
    async def listen() -> None:
        async with events(session, uuid4()):
            raise AssertionError

    with pytest.raises(Unavailable, match="does not let you listen"):
        asyncio.run(listen())
