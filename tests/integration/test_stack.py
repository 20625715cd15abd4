"""`argus up` to `argus down`, for real: what a person at a shell and a stranger on the network see."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from argus_ray.local import keys, postgres, process, seaweedfs
from argus_ray.local.home import open_home
from argus_ray.local.process import Identity
from argus_ray.local.stack import STACK_ID


def argus(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "argus_ray.cli", *words],
        env=os.environ | {"ARGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def home():
    folder = Path(tempfile.mkdtemp(prefix="argus-"))  # short, so that Ray's sockets fit below it
    yield folder
    argus(folder, "down")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stack(home):
    """The answer of `argus status --json` once `argus up --detach` has returned."""
    up = argus(home, "up", "--detach", "--demo-models")
    assert up.returncode == 0, up.stderr
    status = argus(home, "status", "--json")
    assert status.returncode == 0, status.stdout
    return json.loads(status.stdout)


def test_status_says_where_everything_is(stack):
    assert stack["ready"] is True
    assert {"supervisor", "postgres", "seaweedfs", "supabase", "ray", "ray/raylet"} <= {
        p["name"] for p in stack["processes"]
    }
    assert httpx.get(f"{stack['api_url']}/readyz").status_code == 200
    assert httpx.get(f"{stack['supabase_url']}/auth/v1/health").status_code == 200
    assert httpx.get(f"{stack['s3_endpoint']}/healthz").status_code == 200


def test_every_port_listens_on_loopback_alone_but_for_the_replicas_own(stack):
    family = {process["pid"]: process["name"] for process in stack["processes"]}
    listening = [
        one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN and one.pid in family
    ]
    open_to_others = {
        family[one.pid] for one in listening if one.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    }
    assert len(listening) > 15
    assert {name.split(":")[2] for name in open_to_others} <= {"ServeReplica"}  # Ray binds it so; it asks for the token


def test_nobody_submits_a_job_or_reads_one_without_the_token(home, stack):
    jobs = f"{stack['dashboard_url']}/api/jobs/"
    assert httpx.get(jobs).status_code == 401
    assert httpx.get(jobs, headers={"Authorization": "Bearer wrong"}).status_code == 403
    token = (home / "keys" / "ray_token").read_text()
    assert httpx.get(jobs, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_an_ingest_job_is_submitted_as_the_readme_types_it(home, stack):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = re.findall(r"^```sh\n((?:export .*\n)*ray job submit.*\n)```$", readme, re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    submitted = subprocess.run(
        ["sh", "-ec", block.replace("ingest.py", "ingest.py --linger-s 1")],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        | {"ARGUS_HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "succeeded" in submitted.stdout + submitted.stderr


def test_no_secret_stands_on_a_command_line_or_in_a_file_that_others_may_read(home, stack):
    secrets = keys.load(home)
    lines = " ".join(
        " ".join(psutil.Process(p["pid"]).cmdline()) for p in stack["processes"] if psutil.pid_exists(p["pid"])
    )
    for secret in (
        secrets.postgres_password,
        secrets.api_password,
        secrets.s3_secret_key,
        secrets.secret_key,
        secrets.ray_token,
    ):
        assert secret not in lines
    assert home.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o077 for file in home.glob("[klr]*/*") if file.is_file()} == {0}


def test_the_api_and_the_workers_sign_in_as_roles_that_own_nothing(home, stack):
    secrets = keys.load(home)
    port = json.loads((home / "run" / "ports.json").read_text())["postgres"]
    for role, password in (("argus_api", secrets.api_password), ("argus_worker", secrets.worker_password)):
        with psycopg.connect(postgres.url(port, password, user=role)) as connection:
            found = connection.execute(
                "select rolsuper or rolbypassrls or rolcreaterole from pg_roles where rolname = current_user"
            )
            assert found.fetchone() == (False,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(port, "wrong"))


def test_a_second_up_says_who_runs_and_changes_nothing(home, stack):
    again = argus(home, "up", "--demo-models")
    assert again.returncode != 0
    assert f"already runs on {home}, as process {stack['processes'][0]['pid']}" in again.stderr
    assert json.loads(argus(home, "status", "--json").stdout)["ready"] is True


def test_down_leaves_nothing_running_and_the_next_start_has_the_same_data_and_addresses(home, stack):
    secrets = keys.load(home)
    s3 = seaweedfs.client(stack["s3_endpoint"], secrets.s3_access_key, secrets.s3_secret_key)
    s3.put_object(Bucket="argus", Key="kept", Body=b"kept")

    assert argus(home, "down").returncode == 0

    assert process.marked(STACK_ID, secrets.stack_id) == []
    assert [one for one in stack["processes"] if Identity.of(one["pid"])] == []
    assert argus(home, "status").returncode == 1
    assert argus(home, "down").returncode == 0

    port = json.loads((home / "run" / "ports.json").read_text())
    server = process.spawn(program := seaweedfs.server(home, port, secrets.s3_access_key, secrets.s3_secret_key))
    try:
        process.wait_ready(program, server)
        assert s3.get_object(Bucket="argus", Key="kept")["Body"].read() == b"kept"
    finally:
        process.stop(program, server)


def test_data_of_another_major_version_of_postgres_is_refused_in_words(tmp_path):
    home = open_home(tmp_path / "home")
    postgres.initialise(home, "password", durable=False)
    (home / "pg" / "PG_VERSION").write_text("15\n")

    up = argus(home, "up")

    assert up.returncode != 0
    assert "was made by PostgreSQL 15 and the installed one is 18" in up.stderr


def test_doctor_names_an_address_that_does_not_answer_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ARGUS_SUPABASE_URL", "http://127.0.0.1:9")
    doctor = argus(tmp_path, "doctor", "--demo-models", "--json")
    problems = {one["subject"]: one["detail"] for one in json.loads(doctor.stdout) if not one["ok"]}
    assert doctor.returncode == 1
    assert "does not answer" in problems["ARGUS_SUPABASE_URL"]
