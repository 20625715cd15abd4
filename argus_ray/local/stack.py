"""The embedded stack as a value: which programs, on which ports, with which settings.

A part whose address is given in the settings is not started; everybody is told its address by the same variable as
that of a part that is. So nothing that runs on the stack can tell the two apart.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from argus_ray.catalog.migrate import migrate
from argus_ray.errors import ConfigurationError
from argus_ray.local import cluster, http, ports, postgres, process, seaweedfs, state
from argus_ray.local.home import read_json, write_json
from argus_ray.local.keys import Keys
from argus_ray.settings import Settings

STACK_ID = "ARGUS_STACK_ID"
"""The variable by which a process of this stack is told from every other on the machine."""


async def nothing() -> None:
    """For a part that has nothing to settle."""


@dataclass(frozen=True)
class Part:
    """A program, and what it takes to be useful: `needs` before it starts, `settle` once it answers and others do."""

    program: process.Program
    needs: tuple[str, ...] = ()
    settle: Callable[[], Awaitable[None]] = nothing
    settle_needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.program.name


@dataclass(frozen=True)
class Stack:
    """Parts in the order in which they start; `finish` is done once all are up, and then `not_ready` is asked."""

    home: Path
    settings: Settings
    parts: tuple[Part, ...]
    not_ready: Callable[[], str | None]
    """What is missing for a search to be answered, or None."""
    finish: Callable[[], Awaitable[None]] = nothing


def describe(home: Path, given: Settings, keys: Keys, applications: Sequence[cluster.Application]) -> Stack:
    """The stack of a home: choose its ports, fill in the addresses, describe its parts.

    Without applications it is Postgres, S3, Supabase and an empty Ray: ready once all are up.

    Raises: ConfigurationError when an address is given without what belongs to it, or a port is taken.
    """
    port = _choose_ports(home, given)
    settings = fill(given, keys, port)
    env = os.environ | environment(settings) | {"ARGUS_HOME": str(home), STACK_ID: keys.stack_id}
    parts = []
    if not given.database_url:
        parts.append(_postgres(home, settings, given, keys, port))
    if not given.s3_endpoint:
        parts.append(_seaweedfs(home, settings, port))
    if not given.supabase_url:
        parts.append(_supabase(home, settings, env, needs=tuple(part.name for part in parts)))

    async def deploy() -> None:
        if given.database_url:
            await asyncio.to_thread(_bring_up_to_date, settings, keys, given)
        if applications:
            await _register_model(settings, env, home / "log" / "models.log")
        await cluster.deploy(
            settings.ray_dashboard_url or "",
            os.environ.get("RAY_AUTH_TOKEN") if given.ray_address else keys.ray_token,
            applications,
            host=settings.api_host,
            port=settings.api_port,
            env_vars=environment(settings) if given.ray_address else None,
        )

    if not given.ray_address:
        head = cluster.head(home, port, env, token=keys.ray_token, num_cpus=settings.ray_num_cpus)
        parts.append(Part(head, settle=deploy, settle_needs=tuple(part.name for part in parts)))
    marked = (replace(part, program=_marked(part.program, keys.stack_id)) for part in parts)
    return Stack(
        home,
        settings,
        tuple(marked),
        not_ready=functools.partial(state.not_ready, settings.public_url) if applications else lambda: None,
        finish=deploy if given.ray_address else nothing,
    )


def fill(given: Settings, keys: Keys, port: Mapping[str, int]) -> Settings:
    """The settings with every address that is not given pointing at the part that is started instead.

    Raises: ConfigurationError when an address is given without what belongs to it.
    """
    for address, others in (
        ("supabase_url", ("publishable_key", "secret_key")),
        ("ray_address", ("ray_dashboard_url",)),
    ):
        if getattr(given, address) and (missing := [name for name in others if not getattr(given, name)]):
            needed = " and ".join(f"ARGUS_{name.upper()}" for name in missing)
            raise ConfigurationError(f"ARGUS_{address.upper()} is set and {needed} is not: set both, or neither")
    owner = given.secret("database_url") or postgres.url(port["postgres"], keys.postgres_password)
    filled: dict[str, Any] = {"database_url": SecretStr(owner), "api_port": port["api"]}
    if not given.api_database_url:
        filled["api_database_url"] = SecretStr(_as_role(owner, "argus_api", keys.api_password))
    if not given.worker_database_url:
        filled["worker_database_url"] = SecretStr(_as_role(owner, "argus_worker", keys.worker_password))
    if not given.public_url:
        everywhere = given.api_host in ("0.0.0.0", "::")  # noqa: S104  compared, not bound
        filled["public_url"] = f"http://{'127.0.0.1' if everywhere else given.api_host}:{port['api']}"
    if not given.s3_endpoint:
        filled["s3_endpoint"] = f"http://127.0.0.1:{port['s3']}"
        filled["s3_access_key"] = SecretStr(keys.s3_access_key)
        filled["s3_secret_key"] = SecretStr(keys.s3_secret_key)
    if not given.supabase_url:
        filled["supabase_url"] = f"http://127.0.0.1:{port['supabase']}"
        filled["publishable_key"] = SecretStr(keys.publishable_key)
        filled["secret_key"] = SecretStr(keys.secret_key)
    if not given.ray_address:
        filled["ray_address"] = f"127.0.0.1:{port['ray']}"
        filled["ray_dashboard_url"] = f"http://127.0.0.1:{port['ray_dashboard']}"
    return given.model_copy(update=filled)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that `Settings()` reads, but for the owner's connection: migrations and registering a model alone may use it."""
    found = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None or name == "database_url":
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        found[f"ARGUS_{name.upper()}"] = json.dumps(value) if isinstance(value, list) else str(value)
    return found


def _choose_ports(home: Path, given: Settings) -> dict[str, int]:
    preferred = {name: int(port) for name, port in read_json(home / "run" / "ports.json").items()}
    if given.api_port:
        if not ports.is_free(given.api_port, given.api_host):
            raise ConfigurationError(f"ARGUS_API_PORT {given.api_port} is taken: stop what holds it, or choose another")
        preferred["api"] = given.api_port
    names = ("api", "postgres", *seaweedfs.PORTS, "supabase", *cluster.PORTS)
    port = ports.choose(names, preferred, grpc=seaweedfs.PORTS)
    write_json(home / "run" / "ports.json", port)
    return port


def _as_role(owner_url: str, role: str, password: str) -> str:
    address = urlsplit(owner_url)
    return address._replace(netloc=f"{role}:{quote(password, safe='')}@{address.netloc.rpartition('@')[2]}").geturl()


def _marked(program: process.Program, stack_id: str) -> process.Program:
    return replace(program, env={**program.env, STACK_ID: stack_id})


def _postgres(home: Path, settings: Settings, given: Settings, keys: Keys, port: Mapping[str, int]) -> Part:
    postgres.initialise(home, keys.postgres_password)
    owner = settings.secret("database_url") or ""

    def settle() -> None:
        postgres.prepare(owner)
        _bring_up_to_date(settings, keys, given)

    return Part(
        postgres.server(home, port["postgres"], keys.postgres_password),
        settle=functools.partial(asyncio.to_thread, settle),
    )


def _bring_up_to_date(settings: Settings, keys: Keys, given: Settings) -> None:
    """Apply the migrations, and let the roles sign in whose connections nobody has given."""
    owner = settings.secret("database_url") or ""
    migrate(owner)
    for role, address, password in (
        ("argus_api", given.api_database_url, keys.api_password),
        ("argus_worker", given.worker_database_url, keys.worker_password),
    ):
        if address is None:
            postgres.set_login(owner, role, password)


async def _register_model(settings: Settings, env: Mapping[str, str], log: Path) -> None:
    """Make the model known to the catalogue; in a process of its own, since reading weights takes torch's memory.

    Raises: ConfigurationError with the reason when the weights cannot be had.
    """
    program = process.Program(
        name="models",
        command=[sys.executable, "-m", "argus_ray.cli", "models", "register"],
        log=log,
        env={**env, "ARGUS_DATABASE_URL": settings.secret("database_url") or ""},
        check=lambda: None,
    )
    child = process.spawn(program)
    try:
        while child.poll() is None:  # noqa: ASYNC110  another process ends
            await asyncio.sleep(0.1)
    finally:
        child.kill()
        code = child.wait()
    if code:
        raise ConfigurationError(process.tail(log).rpartition("argus: ")[2])


def _seaweedfs(home: Path, settings: Settings, port: Mapping[str, int]) -> Part:
    access_key, secret_key = settings.secret("s3_access_key") or "", settings.secret("s3_secret_key") or ""

    def settle() -> None:
        seaweedfs.prepare(seaweedfs.client(settings.s3_endpoint or "", access_key, secret_key), settings.bucket)

    return Part(
        seaweedfs.server(home, port, access_key, secret_key),
        settle=functools.partial(asyncio.to_thread, settle),
    )


def _supabase(home: Path, settings: Settings, env: Mapping[str, str], *, needs: tuple[str, ...]) -> Part:
    program = process.Program(
        name="supabase",
        command=[sys.executable, "-m", "argus_ray.local.supabase"],
        log=home / "log" / "supabase.log",
        env={
            **env,
            "ARGUS_LOCAL_DATABASE_URL": settings.secret("database_url") or "",
            "ARGUS_LOCAL_JWK_FILE": str(home / "keys" / "jwk_set"),
        },
        check=functools.partial(_check_supabase, f"{settings.supabase_url}/auth/v1/health"),
    )
    return Part(program, needs=needs)


def _check_supabase(url: str) -> None:
    http.get(url, "the local Supabase")
