"""`argus doctor`: what is wrong with this machine or its settings, and what to do. It looks, and changes nothing."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from argus_ray.errors import ArgusError
from argus_ray.local import cluster, ports, postgres, seaweedfs
from argus_ray.local.home import holder
from argus_ray.models import loading
from argus_ray.settings import Settings

GIB = 2**30
MEMORY_BYTES = 4 * GIB
"""What the stack takes on a quiet day, the demo weights included: Ray 2, Postgres and S3 1, the models 1."""
DISK_BYTES = 5 * GIB
OPEN_FILES = 4096


Lines = Iterator[tuple[bool, str]]
"""What a check yields: whether it is well, and the sentence."""


class Finding(NamedTuple):
    """One line of the answer; `detail` of a problem says what to do."""

    subject: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Everything that is looked at, in the order in which it matters."""
    home = settings.home.expanduser()
    checks: dict[str, Callable[[], Lines]] = {
        "Python": _python,
        "home": functools.partial(_home, home),
        "packages": functools.partial(_packages, settings),
        "memory": _memory,
        "disk": functools.partial(_disk, home),
        "/dev/shm": _shared_memory,  # noqa: S108  a name, not a file of ours
        "open files": _open_files,
        "ports": functools.partial(_ports, settings, home),
        "ARGUS_DATABASE_URL": functools.partial(_database, settings),
        "ARGUS_S3_ENDPOINT": functools.partial(_s3, settings),
        "ARGUS_SUPABASE_URL": functools.partial(_supabase, settings),
        "ARGUS_RAY_ADDRESS": functools.partial(_ray, settings),
        "SigLIP 2 weights": functools.partial(_weights, settings),
        "SAM 3 weights": functools.partial(_concepts, settings),
    }
    return [Finding(subject, ok, detail) for subject, check in checks.items() for ok, detail in check()]


def _python() -> Lines:
    version = ".".join(map(str, sys.version_info[:3]))
    yield (
        sys.version_info >= (3, 11),
        f"{version} at {sys.executable}"
        + ("" if sys.version_info >= (3, 11) else "; Argus needs 3.11 or newer: make a new environment with one"),
    )
    if sys.platform not in ("linux", "darwin"):
        yield False, f"the embedded stack runs on Linux and macOS, not on {sys.platform}: use WSL 2"


def _home(home: Path) -> Lines:
    if not home.exists():
        parent = next(parent for parent in home.parents if parent.exists())
        writable = os.access(parent, os.W_OK)
        yield writable, f"{home} will be made" if writable else f"{home} cannot be made in {parent}: set ARGUS_HOME"
        return
    found = home.stat()
    if found.st_uid != os.geteuid():
        yield (
            False,
            f"{home} belongs to uid {found.st_uid}, and you are uid {os.geteuid()}: set ARGUS_HOME to your own folder",
        )
    elif found.st_mode & 0o077:
        yield (
            False,
            f"{home} is open to others (mode {found.st_mode & 0o777:o}): chmod 700 {home}, or let `argus up` do it",
        )
    else:
        running = holder(home)
        yield True, f"{home}" + (f", held by process {running.pid}" if running else "")


def _packages(settings: Settings) -> Lines:
    yield True, f"ray {metadata.version('ray')}"
    if not settings.database_url:
        yield from _program(lambda: [str(postgres.binaries() / "postgres"), "--version"])
    if not settings.s3_endpoint:
        yield from _program(lambda: [seaweedfs.binary(), "version"])


def _program(command: Callable[[], list[str]]) -> Lines:
    try:
        done = subprocess.run(command(), capture_output=True, text=True, timeout=30, check=True)
    except (ArgusError, OSError, subprocess.SubprocessError) as error:
        yield False, f"{error}"
    else:
        yield True, done.stdout.strip()


def _memory() -> Lines:
    available = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's, which the line above does not know
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        available = min(available, int(text))
    enough = available >= MEMORY_BYTES
    yield (
        enough,
        f"{available / GIB:.1f} GiB free"
        + (
            ""
            if enough
            else f"; the stack takes about {MEMORY_BYTES / GIB:.0f} GiB: stop other programs, or give it more"
        ),
    )


def _disk(home: Path) -> Lines:
    free = shutil.disk_usage(next(path for path in (home, *home.parents) if path.exists())).free
    enough = free >= DISK_BYTES
    yield (
        enough,
        f"{free / GIB:.1f} GiB free at {home}"
        + ("" if enough else f"; less than {DISK_BYTES / GIB:.0f} GiB: make room, or set ARGUS_HOME to a larger disk"),
    )


def _shared_memory() -> Lines:
    shared = Path("/dev/shm")  # noqa: S108  looked at only
    if shared.exists():
        free = shutil.disk_usage(shared).free
        small = free < cluster.OBJECT_STORE_BYTES
        yield True, f"{free / GIB:.2f} GiB free" + ("; Ray's object store is kept in the home instead" if small else "")


def _open_files() -> Lines:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard >= OPEN_FILES
    yield (
        enough,
        f"{soft} at once, {hard} at most" + ("" if enough else f"; Ray needs {OPEN_FILES}: ulimit -Hn {OPEN_FILES}"),
    )


def _ports(settings: Settings, home: Path) -> Lines:
    try:
        ports.choose((*seaweedfs.PORTS, *cluster.PORTS), {}, grpc=seaweedfs.PORTS)
    except ArgusError as error:
        yield False, error.detail
    else:
        yield True, f"enough free ones between {ports.FIRST} and {ports.LAST + ports.GRPC_OFFSET}"
    if settings.api_port and holder(home) is None and not ports.is_free(settings.api_port, settings.api_host):
        yield False, f"ARGUS_API_PORT {settings.api_port} is taken: stop what holds it, or choose another"


def _database(settings: Settings) -> Lines:
    for name in ("database_url", "api_database_url", "worker_database_url", "listen_database_url"):
        address = settings.secret(name)
        if address is None:
            continue
        variable = f"ARGUS_{name.upper()}"
        try:
            with psycopg.connect(address, connect_timeout=5, prepare_threshold=None) as connection:
                row = connection.execute(
                    "select current_setting('server_version'), "
                    "exists (select from pg_available_extensions where name = 'vector')"
                ).fetchone()
        except psycopg.Error as error:
            yield (
                False,
                f"{variable} does not let us in ({str(error).splitlines()[0]}): check host, port, role and password",
            )
            continue
        version, vector = row or ("", False)
        yield (
            vector,
            f"{variable}: PostgreSQL {version}" + ("" if vector else "; it has no pgvector: install the extension"),
        )


def _s3(settings: Settings) -> Lines:
    if not settings.s3_endpoint:
        return
    import boto3
    from botocore.config import Config

    s3 = boto3.client(
        "s3",
        endpoint_url=None if settings.s3_endpoint == "aws" else settings.s3_endpoint,
        aws_access_key_id=settings.secret("s3_access_key"),
        aws_secret_access_key=settings.secret("s3_secret_key"),
        region_name=settings.s3_region,
        config=Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    try:
        s3.head_bucket(Bucket=settings.bucket)
    except (BotoCoreError, ClientError) as error:
        yield (
            False,
            (
                f"bucket {settings.bucket} at {settings.s3_endpoint} cannot be used ({error}): check the address, "
                f"ARGUS_S3_ACCESS_KEY and ARGUS_S3_SECRET_KEY, and that the bucket (ARGUS_BUCKET) exists"
            ),
        )
    else:
        yield True, f"bucket {settings.bucket} at {settings.s3_endpoint} answers"


def _supabase(settings: Settings) -> Lines:
    if not settings.supabase_url:
        return
    url = f"{settings.supabase_url.rstrip('/')}/auth/v1/health"
    try:
        answer = httpx.get(url, headers={"apikey": settings.secret("publishable_key") or ""}, timeout=5)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield False, f"{url} does not answer ({error}): check the address"
        return
    well = answer.status_code == httpx.codes.OK
    yield (
        well,
        f"{url} says {answer.status_code}" + ("" if well else ": check ARGUS_SUPABASE_URL and ARGUS_PUBLISHABLE_KEY"),
    )


def _ray(settings: Settings) -> Lines:
    if settings.ray_dashboard_url:
        try:
            cluster.check(settings.ray_dashboard_url, os.environ.get("RAY_AUTH_TOKEN"))
        except ArgusError as error:
            yield False, f"{error.detail}: check ARGUS_RAY_DASHBOARD_URL and RAY_AUTH_TOKEN"
        else:
            yield True, f"{settings.ray_dashboard_url} answers"
    elif settings.ray_address:
        yield False, "ARGUS_RAY_ADDRESS is set and ARGUS_RAY_DASHBOARD_URL is not: set both, or neither"


def _concepts(settings: Settings) -> Lines:
    """Argus runs without them, so that they are missing is no fault of the machine."""
    name = settings.sam3_model
    if loading.is_at_hand(name):
        yield True, f"{name} is at hand"
    else:
        yield True, f"{name} is not at hand, and concepts are refused until it is: argus models add {name}"


def _weights(settings: Settings) -> Lines:
    name = settings.siglip2_model
    if name.startswith("s3://"):
        yield True, f"{name} is fetched when the model starts"
        return
    if not name.startswith(("demo:", "/", ".", "~")) and not Path(name).exists():
        from huggingface_hub import try_to_load_from_cache

        if isinstance(try_to_load_from_cache(name.partition("@")[0], "config.json"), str):
            yield True, f"{name} is in the cache"
        elif _answers("huggingface.co"):
            yield True, f"{name} is downloaded from huggingface.co at the first start"
        else:
            yield (
                False,
                (
                    f"{name} is not in the cache and huggingface.co cannot be reached: name a folder or an s3:// prefix in "
                    f"ARGUS_SIGLIP2_MODEL, or use --demo-models"
                ),
            )
        return
    try:
        folder = loading.resolve(name)
    except ArgusError as error:
        yield False, error.detail
    else:
        yield True, f"{name} at {folder}"


def _answers(host: str) -> bool:
    try:
        httpx.head(f"https://{host}", timeout=5)
    except httpx.HTTPError:
        return False
    return True
