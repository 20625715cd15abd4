"""The bytes of Storage, in S3: one immutable S3 object a version, `<bucket>/<name>/<version>`.

An upload writes new bytes under a new version and only then the row; what the row no longer names is deleted after it.
So a reader sees the old object or the new one, whole, and a crash leaves at most bytes that no row names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Any, cast

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import Depends, Request

from argus_ray.local.supabase.config import Config

log = logging.getLogger(__name__)

DELETE_AT_ONCE = 1000  # S3's own limit


@dataclass(frozen=True)
class Version:
    """Where the bytes of one version of an object lie."""

    bucket: str
    name: str
    version: str

    @property
    def key(self) -> str:
        return f"{self.bucket}/{self.name}/{self.version}"


class Objects:
    """One S3 bucket. boto3 blocks, so every call goes to a thread."""

    def __init__(self, config: Config) -> None:
        self.bucket = config.local_storage_bucket
        self.encryption = {} if config.sse == "none" else {"ServerSideEncryption": config.sse}
        self.s3 = boto3.client(
            "s3",
            endpoint_url=None if config.s3_endpoint == "aws" else config.s3_endpoint,
            aws_access_key_id=config.s3_access_key and config.s3_access_key.get_secret_value(),
            aws_secret_access_key=config.s3_secret_key and config.s3_secret_key.get_secret_value(),
            region_name=config.s3_region,
            config=BotoConfig(
                connect_timeout=5, read_timeout=60, retries={"mode": "standard"}, max_pool_connections=32
            ),
        )

    async def make_bucket(self) -> None:
        """Make the bucket unless it is there."""
        try:
            await asyncio.to_thread(self.s3.head_bucket, Bucket=self.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            await asyncio.to_thread(self.s3.create_bucket, Bucket=self.bucket)

    async def put(self, version: Version, body: IO[bytes], content_type: str, cache_control: str) -> str:
        """Store the bytes of a new version and return their ETag, in quotes."""
        done = await asyncio.to_thread(
            self.s3.put_object,
            Bucket=self.bucket,
            Key=version.key,
            Body=body,
            ContentType=content_type,
            CacheControl=cache_control,
            **self.encryption,
        )
        return str(done["ETag"])

    async def get(self, version: Version, conditions: dict[str, str]) -> dict[str, Any]:
        """S3's answer to a GET with a `Range` or a condition; `Body` is a stream. Raises: ClientError."""
        answer: dict[str, Any] = await asyncio.to_thread(
            self.s3.get_object, Bucket=self.bucket, Key=version.key, **conditions
        )
        return answer

    async def copy(self, source: Version, target: Version) -> None:
        await asyncio.to_thread(
            self.s3.copy_object,
            Bucket=self.bucket,
            Key=target.key,
            CopySource={"Bucket": self.bucket, "Key": source.key},
            **self.encryption,
        )

    async def delete(self, versions: Iterable[Version]) -> None:
        """Delete bytes that no row names any more. That S3 is down is logged: the row is gone, which is what counts."""
        keys = [{"Key": version.key} for version in versions]
        try:
            for batch in _batches(keys):
                await asyncio.to_thread(
                    self.s3.delete_objects, Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True}
                )
        except (BotoCoreError, ClientError) as error:
            log.warning("%d objects that nothing names any more stay in S3: %s", len(keys), error)


def _of_app(request: Request) -> Objects:
    return cast("Objects", request.app.state.objects)


Bytes = Annotated[Objects, Depends(_of_app)]


def _batches(keys: Sequence[dict[str, str]]) -> Iterable[Sequence[dict[str, str]]]:
    return (keys[i : i + DELETE_AT_ONCE] for i in range(0, len(keys), DELETE_AT_ONCE))
