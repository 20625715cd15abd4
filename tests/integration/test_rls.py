"""Who may see and change what, table by table, asked of Postgres itself through the API's own login.

The tables are those that the database has: a new one fails here until somebody says who may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from argus_ray.catalog.migrate import migrate
from argus_ray.local.postgres import set_login, url
from tests.people import person_id

OURS, THEIRS = uuid4(), uuid4()
ROLES = ("owner", "editor", "annotator", "viewer")
KEYS = {
    "write": ("editor", ["read", "write"], "null", "null"),
    "read": ("editor", ["read"], "null", "null"),
    "revoked": ("editor", ["read", "write"], "now() - interval '1 s'", "null"),
    "expired": ("editor", ["read", "write"], "null", "now() - interval '1 s'"),
}


@dataclass
class World:
    """Two projects, people of every role in ours, and a row in every table."""

    owner: psycopg.Connection[Any]
    api: psycopg.Connection[Any]
    keys: dict[str, UUID]

    def tables(self) -> list[str]:
        found = self.owner.execute(
            "select relname from pg_class where relnamespace = 'argus'::regnamespace and relkind in ('r', 'p') order by 1"
        )
        return [name for (name,) in found]

    @contextmanager
    def acting(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction as this caller, undone at the end."""
        role, claims = self.caller(name)
        with self.api.transaction(force_rollback=True):
            self.api.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            self.api.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            yield self.api

    def caller(self, name: str) -> tuple[str, dict[str, Any]]:
        """Role in the database, and claims."""
        key_claims = {"api_key_id": str(self.keys.get(name.removesuffix(" key"))), "project_id": str(OURS)}
        forged = {"project_id": str(OURS), "role": "owner", "scopes": ["read", "write"]}
        callers = {
            **{role: ("authenticated", _person(f"{role}@ours")) for role in ROLES},
            **{f"{key} key": ("authenticated", {"role": "authenticated", "argus": key_claims}) for key in KEYS},
            "stranger": ("authenticated", _person("owner@theirs")),
            "nobody's member": ("authenticated", _person("new@example.org")),
            "their key": (
                "authenticated",
                {"role": "authenticated", "argus": {**forged, "api_key_id": str(self.keys["theirs"])}},
            ),
            "made-up key": ("authenticated", {"role": "authenticated", "argus": {**forged, "api_key_id": str(uuid4())}}),
            "made-up claims": ("authenticated", {**_person("new@example.org"), "argus": forged, "project_id": str(OURS)}),
            "owner's id as service role": ("authenticated", {**_person("owner@ours"), "role": "service_role"}),
            "owner's id as database role": ("authenticated", {**_person("owner@ours"), "role": "argus_worker"}),
            "owner's id without role": ("authenticated", {"sub": str(person_id("owner@ours"))}),
            "key's id as service role": ("authenticated", {"role": "service_role", "argus": {"api_key_id": str(self.keys["write"])}}),
            "no claims": ("authenticated", {}),
            "anonymous": ("anon", {"role": "anon"}),
            "anonymous with an owner's claims": ("anon", _person("owner@ours")),
        }  # fmt: skip
        return callers[name]


OUTSIDERS = (
    "revoked key", "expired key", "stranger", "nobody's member", "their key", "made-up key", "made-up claims",
    "owner's id as service role", "owner's id as database role", "owner's id without role",
    "key's id as service role", "no claims", "anonymous", "anonymous with an owner's claims",
)  # fmt: skip


def _person(email: str) -> dict[str, Any]:
    return {"role": "authenticated", "sub": str(person_id(email)), "email": email, "is_anonymous": False}


@pytest.fixture(scope="module")
def world(postgres) -> Iterator[World]:
    name = f"rls_{uuid4().hex[:12]}"
    owner_url = postgres.create_database(name)
    migrate(owner_url)
    set_login(owner_url, "argus_api", "argus_api")
    api_url = url(postgres.port, "argus_api", user="argus_api", database=name)
    with (
        psycopg.connect(owner_url, autocommit=True) as owner,
        psycopg.connect(api_url, autocommit=True) as api,
    ):
        owner.execute("set search_path = argus, extensions")
        yield World(owner, api, _fill(owner))
    postgres.drop_database(name)


def _fill(owner: psycopg.Connection[Any]) -> dict[str, UUID]:
    """A row in every table for our project, and a project of somebody else."""
    keys: dict[str, UUID] = {}
    video, job, run = uuid4(), uuid4(), uuid4()
    for project, people in ((OURS, [f"{role}@ours" for role in ROLES]), (THEIRS, ["owner@theirs"])):
        owner.execute("insert into projects (id, name) values (%s, 'a project')", (project,))
        for email in people:
            owner.execute(
                "insert into members (project_id, user_id, email, role, joined_at) values (%s, %s, %s, %s, now())",
                (project, person_id(email), email, email.partition("@")[0]),
            )
    for label, (role, scopes, revoked_at, expires_at) in {**KEYS, "theirs": KEYS["write"]}.items():
        project = THEIRS if label == "theirs" else OURS
        keys[label] = owner.execute(
            f"insert into api_keys (project_id, name, prefix, key_hash, role, scopes, revoked_at, expires_at)"
            f" values (%s, %s, 'argus_', sha256(%s::bytea), %s, %s, {revoked_at}, {expires_at}) returning id",
            (project, label, label.encode(), role, scopes),
        ).fetchone()[0]
    owner.execute("insert into user_settings (user_id) values (%s)", (person_id("owner@ours"),))
    owner.execute(
        "insert into videos (id, project_id, name, state, size_bytes) values (%s, %s, 'v', 'uploaded', 1)",
        (video, OURS),
    )
    owner.execute(
        "insert into uploads (project_id, video_id, kind, expires_at) values (%s, %s, 'put', now())", (OURS, video)
    )
    owner.execute("insert into jobs (id, project_id, kind, video_id) values (%s, %s, 'ingest', %s)", (job, OURS, video))
    owner.execute(
        "insert into runs (pool, id, kind, lease_until, accepts_until) values ('a', %s, 'ingest', now(), now())", (run,)
    )
    owner.execute(
        "insert into claims (run_id, no, segment_id, fence) select %s, 0, id, 1 from segments limit 1", (run,)
    )
    owner.execute(
        "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
        " values (%s, %s, 0, %s, %s, 0, 1, 1, 1, 'fps')",
        (OURS, video, uuid4(), job),
    )
    owner.execute("select register_model('siglip2', 'demo:siglip2', 'abc', 3, 8, 1, 0)")
    for indexed in (True, False):
        owner.execute(
            "insert into embeddings (project_id, video_id, pts_us, model_number, indexed, embedding)"
            " values (%s, %s, 0, 1, %s, '[1,0,0]')",
            (OURS, video, indexed),
        )
    owner.execute("insert into doomed_objects (project_id, store, key) values (%s, 's3', 'k')", (OURS,))
    owner.execute(
        "insert into idempotency_keys (caller, key, request_hash, status) values (%s, 'k', sha256('x'), 200)",
        (f"user:{person_id('owner@ours')}",),
    )
    owner.execute("insert into broadcasts (topic, event, payload) values ('t', 'e', '{}')")
    _fill_concepts(owner, video, job)
    return keys


def _fill_concepts(owner: psycopg.Connection[Any], video: UUID, job: UUID) -> None:
    label, track, dataset, model = uuid4(), uuid4(), uuid4(), uuid4()
    here = {"p": OURS, "v": video, "l": label, "t": track, "d": dataset, "m": model, "j": job}
    for statement in (
        "insert into models (id, number, family, uri, weights_id, image_size) values (%(m)s, 9, 'sam3', 'x', 'y', 8)",
        "insert into gpu_usage (project_id, month, kind) values (%(p)s, '2026-01-01', 'track')",
        "insert into measured_rates (kind, model_id, device) values ('track', %(m)s, 'cpu')",
        "insert into labels (project_id, id, name, colour, prompts) values (%(p)s, %(l)s, 'car', '#000000', '{car}')",
        "update labels set name = 'red car' where id = %(l)s",  # history
        (
            "insert into tracks (project_id, id, video_id, label_id, source, state)"
            " values (%(p)s, %(t)s, %(v)s, %(l)s, 'human', 'accepted')"
        ),
        (
            "insert into annotations (project_id, video_id, pts_us, label_id, track_id, kind, x, y, w, h, source, state)"
            " values (%(p)s, %(v)s, 0, %(l)s, %(t)s, 'box', 0, 0, 1, 1, 'human', 'accepted')"
        ),
        "insert into track_links (project_id, video_id, track_id, border_us) values (%(p)s, %(v)s, %(t)s, 0)",
        "insert into verdicts (project_id, video_id, pts_us, label_id, verdict) values (%(p)s, %(v)s, 0, %(l)s, 'partial')",
        "insert into answers (project_id, video_id, pts_us, label_id, model_id, found) values (%(p)s, %(v)s, 0, %(l)s, %(m)s, 0)",
        "insert into reviews (project_id, video_id, pts_us, end_us) values (%(p)s, %(v)s, 0, 1)",
        "insert into datasets (project_id, id, name, query, splits) values (%(p)s, %(d)s, 'd', '{}', '{}')",
        (
            "insert into dataset_versions (project_id, dataset_id, number, job_id, schema_version, content_hash, manifest_key,"
            " query, ontology, counts) values (%(p)s, %(d)s, 1, %(j)s, 1, repeat('0', 64), 'k', '{}', '[]', '{}')"
        ),
        "insert into dataset_splits (project_id, dataset_id, video_id, split, component) values (%(p)s, %(d)s, %(v)s, 'train', 0)",
    ):
        owner.execute(statement.encode(), here)


def _ours(table: str) -> sql.Composable:
    """Which rows of a table are our project's."""
    conditions = {
        "projects": f"id = '{OURS}'",
        "user_settings": f"user_id = '{person_id('owner@ours')}'",
        "idempotency_keys": f"caller = 'user:{person_id('owner@ours')}'",
        "api_keys": f"project_id = '{OURS}'",
        **dict.fromkeys(("runs", "claims", "models", "measured_rates", "broadcasts"), "true"),
    }
    return sql.SQL(conditions.get(table, f"project_id = '{OURS}'"))


def _touched(connection: psycopg.Connection[Any], statement: sql.Composable, *values: Any) -> int:
    """Rows that the statement reaches, which is undone: none where Postgres forbids it."""
    try:
        with connection.transaction(force_rollback=True):
            return connection.execute(statement, values).rowcount
    except pg.InsufficientPrivilege:
        return 0
    except pg.IntegrityError:
        return 1  # it came past the policies


# -- reading ---------------------------------------------------------------------------------------

MEMBERS = {*ROLES, "write key", "read key"}
READERS = {
    "projects": MEMBERS,
    "members": MEMBERS,
    "videos": MEMBERS,
    "uploads": MEMBERS,
    "jobs": MEMBERS,
    "frames": MEMBERS,
    "embeddings": MEMBERS,
    "api_keys": {"owner"},
    "audit": {"owner"},
    "user_settings": {"owner"},  # the person whose they are
    "idempotency_keys": {"owner"},
    "models": {*MEMBERS, *(name for name in OUTSIDERS if not name.startswith("anonymous"))},
    **dict.fromkeys(
        (
            "labels",
            "tracks",
            "annotations",
            "track_links",
            "verdicts",
            "answers",
            "history",
            "reviews",
            "datasets",
            "dataset_versions",
            "dataset_splits",
            "gpu_usage",
        ),
        MEMBERS,
    ),
    "measured_rates": {*MEMBERS, *(name for name in OUTSIDERS if not name.startswith("anonymous"))},
    "doomed_objects": set(),
    "runs": set(),
    "segments": set(),
    "claims": set(),
    "broadcasts": set(),
    "embeddings_1": set(),
    "embeddings_1_recent": set(),
    "embeddings_1_indexed": set(),
}


def test_every_table_says_here_who_may_read_it(world):
    assert set(world.tables()) == set(READERS)


def test_every_table_has_a_row_that_a_leak_would_show(world):
    for table in READERS:
        query = sql.SQL("select count(*) from {} where {}").format(sql.Identifier(table), _ours(table))
        assert world.owner.execute(query).fetchone() > (0,), table


@pytest.mark.parametrize("name", [*ROLES, *(f"{key} key" for key in KEYS), *OUTSIDERS[2:]])
def test_a_caller_reads_the_rows_that_are_theirs_to_read(world, name):
    query = sql.SQL("select 1 from {} where {}")
    with world.acting(name) as connection:
        seen = {table for table in READERS if _touched(connection, query.format(sql.Identifier(table), _ours(table)))}

    assert seen == {table for table, readers in READERS.items() if name in readers}


def test_a_key_hash_is_read_by_nobody(world):
    with world.acting("owner") as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute("select key_hash from api_keys")


# -- writing ---------------------------------------------------------------------------------------


def _columns(world: World, table: str, privilege: str, role: str = "authenticated") -> list[str]:
    found = world.owner.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " and attidentity = '' and attgenerated = '' and has_column_privilege(%s, attrelid, attnum, %s) order by attnum",
        (f"argus.{table}", role, privilege),
    )
    return [name for (name,) in found]


def _writes(world: World, name: str, table: str) -> dict[str, int]:
    """How many of our rows this caller can change, remove or add."""
    target, ours = sql.Identifier(table), _ours(table)
    changeable, every = _columns(world, table, "update"), _columns(world, table, "select", role="postgres")
    row = world.owner.execute(sql.SQL("select to_jsonb(t) from {} t where {} limit 1").format(target, ours)).fetchone()[
        0
    ]
    given = {**row, **({"id": str(uuid4())} if isinstance(row.get("id"), str) else {}), "email": "new@example.org"}
    columns = sql.SQL(", ").join(map(sql.Identifier, _columns(world, table, "insert") or list(row)))
    add = sql.SQL(
        "insert into {} ({}) overriding system value select {} from jsonb_populate_record(null::argus.{}, %s)"
    )
    change = sql.SQL("update {} set {} = {} where {}")
    with world.acting(name) as connection:
        touched = {
            "update": sum(
                _touched(connection, change.format(target, column, column, ours))
                for column in map(sql.Identifier, changeable or every)
            ),
            "delete": _touched(connection, sql.SQL("delete from {} where {}").format(target, ours)),
            "truncate": _touched(connection, sql.SQL("truncate {}").format(target)),
            "insert": _touched(connection, add.format(target, columns, columns, target), Jsonb(given)),
        }
    return {what: rows for what, rows in touched.items() if rows}


@pytest.mark.parametrize("name", OUTSIDERS)
def test_an_outsider_changes_nothing_of_ours(world, name):
    assert {table: done for table in READERS if (done := _writes(world, name, table))} == {}


@pytest.mark.parametrize("name", ["viewer", "read key"])
def test_whoever_may_only_look_changes_nothing_but_may_leave(world, name):
    leave = {} if name == "read key" else {"members": {"delete": 1}}

    assert {table: done for table in READERS if (done := _writes(world, name, table))} == leave


ANNOTATED = {
    "annotations": {"insert", "update"},
    "tracks": {"insert", "update"},
    "track_links": {"update"},
    "verdicts": {"insert", "update", "delete"},
    "reviews": {"insert", "update"},
}  # fmt: skip


def test_an_annotator_changes_annotations_and_neither_the_ontology_nor_datasets_nor_jobs(world):
    done = {table: {*what} for table in READERS if (what := _writes(world, "annotator", table))}

    assert done == {"members": {"delete"}, **ANNOTATED}


@pytest.mark.parametrize("name", ["editor", "write key"])
def test_an_editor_changes_neither_people_nor_keys_nor_what_pipelines_write(world, name):
    done = {
        table: {*what} - {"delete"} for table in READERS if (what := _writes(world, name, table)).keys() - {"delete"}
    }

    assert done.keys() <= {"projects", "videos", "uploads", "jobs", "labels", "datasets", *ANNOTATED}
    assert done["labels"] == done["datasets"] == {"insert", "update"}


PIPELINES_ALONE = {
    "videos": {"container", "codec", "width", "height", "duration_us", "start_us", "frame_rate", "variable_frame_rate",
               "probe", "poster", "frames_kept", "frames_dropped"},
    "jobs": {"turn", "attempts"},
    "labels": {"number"},
    "tracks": {"number", "start_us", "end_us", "keyframes", "score", "method", "model_id", "job_id", "author"},
    "annotations": {"job_id", "author"},
    "verdicts": {"author"},
    "track_links": {"iou", "similarity", "score", "job_id", "border_us"},
}  # fmt: skip
NEVER_CHANGED = {
    "id",
    "project_id",
    "user_id",
    "video_id",
    "created_by",
    "created_at",
    "updated_at",
    "version",
    "key_hash",
}


def test_people_write_no_column_that_only_pipelines_write(world):
    for table in READERS:
        writable = {*_columns(world, table, "insert"), *_columns(world, table, "update")}
        if table in {
            "doomed_objects",
            "runs",
            "segments",
            "claims",
            "frames",
            "models",
            "embeddings",
            "broadcasts",
            "audit",
            "answers",
            "history",
            "gpu_usage",
            "measured_rates",
            "dataset_versions",
            "dataset_splits",
        }:
            assert writable == set(), table
        assert writable & PIPELINES_ALONE.get(table, set()) == set(), table


def test_what_a_row_is_and_whose_it_is_never_changes(world):
    for table in READERS:
        assert set(_columns(world, table, "update")) & NEVER_CHANGED == set(), table


@pytest.mark.parametrize("state", ["ready", "processing", "failed", "awaiting_upload"])
def test_a_person_cannot_say_that_a_video_is_what_a_pipeline_makes_it(world, state):
    reason = Jsonb({"type": "x", "detail": "x"}) if state == "failed" else None
    with world.acting("owner") as connection, pytest.raises(pg.CheckViolation, match="cannot go from uploaded"):
        connection.execute("update videos set state = %s, reason = %s", (state, reason))


@pytest.mark.parametrize("state", ["running", "succeeded", "failed"])
def test_a_person_cannot_say_that_a_job_has_been_done(world, state):
    ended = state in {"succeeded", "failed"}
    with world.acting("owner") as connection, pytest.raises(pg.CheckViolation, match="cannot go from queued"):
        connection.execute("update jobs set state = %s, finished_at = case when %s then now() end", (state, ended))


def test_a_member_cannot_give_somebody_a_place_as_somebody_who_has_come(world):
    with world.acting("owner") as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(
            "insert into members (project_id, email, role, user_id, joined_at) values (%s, 'x@y', 'owner', %s, now())",
            (OURS, uuid4()),
        )


# -- the API's login -------------------------------------------------------------------------------


def test_the_apis_login_has_no_attribute_that_reaches_further(world):
    attributes = world.owner.execute(
        "select rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls from pg_roles"
        " where rolname = any (array['argus_api', 'argus_worker', 'argus_definer', 'argus_registrar', 'anon', 'authenticated'])"
    ).fetchall()

    assert set(attributes) == {(False,) * 6}


def test_the_apis_login_becomes_nobody_but_a_caller(world):
    others = world.owner.execute(
        "select rolname from pg_roles where rolname not in ('argus_api', 'anon', 'authenticated')"
    )

    for (role,) in others.fetchall():
        with pytest.raises((pg.InsufficientPrivilege, pg.InvalidParameterValue)):
            world.api.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        with pytest.raises(pg.InsufficientPrivilege):
            world.api.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))


def test_the_apis_login_reads_nothing_by_itself(world):
    for table in READERS:
        with pytest.raises(pg.InsufficientPrivilege):
            world.api.execute(sql.SQL("select 1 from argus.{} limit 1").format(sql.Identifier(table)))


def test_a_caller_makes_nothing_in_the_schemas(world):
    for schema in ("argus", "extensions", "supabase_migrations"):
        with world.acting("owner") as connection, pytest.raises(pg.InsufficientPrivilege):
            connection.execute(sql.SQL("create table {}.x ()").format(sql.Identifier(schema)))


# -- functions -------------------------------------------------------------------------------------

LOOKS = {"uuid_v7", "claims", "user_id", "caller", "role_rank", "my_projects"}


def _callable(world: World, role: str) -> set[str]:
    found = world.owner.execute(
        "select proname from pg_proc where pronamespace = 'argus'::regnamespace and has_function_privilege(%s, oid, 'execute')"
        " and prorettype <> 'trigger'::regtype",
        (role,),
    )
    return {name for (name,) in found}


def test_each_caller_may_call_what_is_meant_for_them(world):
    assert _callable(world, "anon") == LOOKS | {"claims_of_key"}
    acts = {"join_invited", "create_project", "delete_project"}
    assert _callable(world, "authenticated") == LOOKS | acts | {"target_frames", "track_blocks", "is_seen"}
    assert _callable(world, "argus_api") == set()
    assert _callable(world, "argus_worker").isdisjoint(
        {"claims_of_key", "join_invited", "create_project", "delete_project"}
    )
    assert _callable(world, "argus_registrar") == {"register_model", "register_weights"}


def test_functions_that_act_for_others_look_nowhere_else_and_belong_to_nobody_mighty(world):
    found = world.owner.execute(
        "select proname, proconfig, rolsuper from pg_proc join pg_roles r on r.oid = proowner"
        " where pronamespace = 'argus'::regnamespace and prosecdef"
    ).fetchall()

    assert {name for name, config, _ in found if 'search_path=""' not in (config or [])} == set()
    # they read no table; it is the migrations' owner who may call realtime.send on Supabase
    assert {name for name, _, is_superuser in found if is_superuser} <= {"tell_project", "tell_changes"}


@pytest.mark.parametrize("name", ["write key", "no claims", "owner's id as service role"])
def test_only_a_person_makes_a_project(world, name):
    with world.acting(name) as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute("select create_project('x')")


@pytest.mark.parametrize("name", ["editor", "viewer", "write key"])
def test_only_an_owner_deletes_a_project(world, name):
    with world.acting(name) as connection, pytest.raises(pg.InsufficientPrivilege, match="only an owner"):
        connection.execute("select delete_project(%s, null)", (OURS,))


@pytest.mark.parametrize("name", [name for name in OUTSIDERS if not name.startswith("anonymous")])
def test_an_outsider_deletes_no_project(world, name):
    with world.acting(name) as connection:
        assert connection.execute("select delete_project(%s, null)", (OURS,)).fetchone() == (False,)


def test_a_key_has_claims_while_it_is_good(world):
    with world.acting("anonymous") as connection:
        claims = {
            key: connection.execute("select claims_of_key(sha256(%s::bytea))", (key.encode(),)).fetchone()[0]
            for key in (*KEYS, "theirs", "unknown")
        }

    assert {key for key, found in claims.items() if found} == {"write", "read", "theirs"}
    assert claims["write"]["argus"] == {
        "api_key_id": str(world.keys["write"]), "project_id": str(OURS), "role": "editor", "scopes": ["read", "write"]
    }  # fmt: skip


@pytest.mark.parametrize("claims", ["{", '"x"', "[]", '{"role": "authenticated", "sub": "x"}', '{"argus": 1}'])
def test_claims_that_make_no_sense_let_nobody_in(world, claims):
    with world.api.transaction(force_rollback=True):
        world.api.execute("set local role authenticated")
        world.api.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        try:
            seen = world.api.execute("select id from projects").fetchall()
        except pg.DataError:
            seen = []
        assert seen == []


# -- workers ---------------------------------------------------------------------------------------


def test_workers_have_no_rights_that_they_do_not_need(world):
    def may(table: str) -> set[str]:
        table_wide = {
            privilege
            for privilege in ("insert", "delete", "truncate", "references", "trigger")
            if world.owner.execute(
                "select has_table_privilege('argus_worker', %s, %s)", (f"argus.{table}", privilege)
            ).fetchone()[0]
        }
        return table_wide | {
            privilege
            for privilege in ("select", "insert", "update")
            if _columns(world, table, privilege, "argus_worker")
        }

    for table in ("members", "api_keys", "user_settings", "audit"):
        assert may(table) == set(), table
    assert may("projects") == may("models") == may("uploads") == {"select"}
    assert may("videos") == {"select", "update", "delete"}
    assert may("jobs") == {"select", "update"}
    assert may("idempotency_keys") == may("broadcasts") == {"select", "delete"}
    assert may("claims") == {"select", "insert", "delete"}
    assert may("labels") == may("verdicts") == {"select", "insert", "update"}
    assert may("history") == may("reviews") == may("datasets") == {"select"}
    assert may("dataset_versions") == {"select", "insert"}
    assert set(_columns(world, "labels", "update", "argus_worker")) == {"threshold", "learnt"}
    known = {"id", "sampling", "settings", "gpu_seconds_per_month"}
    assert set(_columns(world, "projects", "select", "argus_worker")) == known
    for table in READERS:
        assert may(table).isdisjoint({"truncate", "references", "trigger"}), table
        assert set(_columns(world, table, "update", "argus_worker")).isdisjoint({"created_by"}), table


# -- the shape of it all ---------------------------------------------------------------------------


def test_every_table_has_forced_row_level_security_and_a_policy(world):
    bare = world.owner.execute(
        "select relname from pg_class c where relnamespace = 'argus'::regnamespace and relkind in ('r', 'p')"
        " and not (relrowsecurity and relforcerowsecurity and exists (select from pg_policy where polrelid = c.oid))"
    ).fetchall()

    assert bare == []


def test_no_view_looks_past_the_policies(world):
    views = world.owner.execute(
        "select relname from pg_class where relnamespace = 'argus'::regnamespace and relkind in ('v', 'm', 'f')"
        " and not coalesce('security_invoker=true' = any (reloptions), false)"
    ).fetchall()

    assert views == []


def test_memberships_are_looked_up_once_for_a_statement(world):
    with world.acting("owner") as connection:
        plan = "\n".join(row for (row,) in connection.execute("explain (costs off) select id from videos"))

    assert "hashed SubPlan" in plan or "InitPlan" in plan


# -- what nobody may say ---------------------------------------------------------------------------


def test_whoever_makes_or_judges_an_annotation_is_named_whatever_they_say(world):
    me = f"user:{person_id('annotator@ours')}"
    with world.acting("annotator") as connection:
        (author,) = connection.execute(
            "insert into annotations (project_id, video_id, pts_us, label_id, kind, source, state)"
            " select project_id, video_id, 1, label_id, 'tag', 'model', 'proposed' from annotations returning author"
        ).fetchone()
        judged = connection.execute(
            "update annotations set state = 'rejected', reviewed_by = 'user:somebody' where pts_us = 1 returning reviewed_by"
        ).fetchone()

    assert (author, judged) == (me, (me,))


@pytest.mark.parametrize("source", ["import", "model"])
def test_a_person_adds_no_accepted_annotation_in_another_ones_name(world, source):
    with world.acting("annotator") as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(
            "insert into annotations (project_id, video_id, pts_us, label_id, kind, source, state)"
            " select project_id, video_id, 1, label_id, 'tag', %s, 'accepted' from annotations",
            (source,),
        )


def test_a_keyframe_of_another_label_or_video_than_its_tracks_cannot_be(world):
    with world.acting("editor") as connection, pytest.raises(pg.ForeignKeyViolation):
        connection.execute(
            "with other as (insert into labels (project_id, name, colour, prompts) values (%s, 'x', '#000000', '{x}') returning id)"
            " update annotations set label_id = other.id from other where track_id is not null",
            (OURS,),
        )


def test_a_dataset_version_is_changed_by_nobody(world):
    for change in ("update dataset_versions set number = 2", "delete from dataset_versions"):
        with pytest.raises(pg.CheckViolation, match="never changes"):
            world.owner.execute(change.encode())


# -- an owner who is not mighty --------------------------------------------------------------------


@pytest.fixture(scope="module")
def humble(postgres) -> Iterator[str]:
    """A database whose owner is neither superuser nor exempt from row-level security, as on a hosted server."""
    name = f"humble_{uuid4().hex[:12]}"
    maintenance = postgres.url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as superuser:
        superuser.execute(sql.SQL("create role {} login createrole password 'humble'").format(sql.Identifier(name)))
        superuser.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(name)))
        for role in ("anon", "authenticated", "argus_api", "argus_worker", "argus_registrar", "argus_definer"):
            # on a server of its own it would have made these roles itself, and have this right
            superuser.execute(
                sql.SQL("grant {} to {} with admin option").format(sql.Identifier(role), sql.Identifier(name))
            )
        with psycopg.connect(postgres.url(name), autocommit=True) as inside:
            inside.execute("create schema extensions")
            inside.execute("create extension vector with schema extensions")
            inside.execute(
                sql.SQL("grant all on schema extensions to {} with grant option").format(sql.Identifier(name))
            )
        yield url(postgres.port, "humble", user=name, database=name)
        superuser.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        superuser.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        superuser.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_the_migrations_need_no_mighty_owner(world, humble):
    applied = migrate(humble)

    assert applied
    assert migrate(humble) == []


def test_everything_that_acts_for_others_works_without_a_mighty_owner(world, humble, postgres):
    migrate(humble)
    with psycopg.connect(humble, autocommit=True) as owner:
        database = owner.info.dbname
    login = url(postgres.port, "argus_api", user="argus_api", database=database)
    with psycopg.connect(login, autocommit=True) as api:

        def run(query: str, *values: Any) -> Any:
            with api.transaction():
                api.execute("set local role authenticated")
                api.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(_person("a@b")),))
                return api.execute(query, values).fetchone()

        (project,) = run("select id from create_project('x')")
        (video,) = run(
            "insert into videos (project_id, name, state, size_bytes, uploaded_at)"
            " values (%s, 'v', 'uploaded', 1, now()) returning id", project,
        )  # fmt: skip
        (job,) = run(
            "insert into jobs (project_id, kind, video_id) values (%s, 'ingest', %s) returning id", project, video
        )
        run("update jobs set state = 'cancelled', finished_at = now() where id = %s returning id", job)
        assert run("select count(*) from audit")[0] >= 4
        assert run("select delete_project(%s, null)", project) == (True,)
        assert run("select count(*) from projects") == (0,)
