"""What the local Supabase is told when it starts: environment variables `ARGUS_<NAME>`, as the supervisor sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Config(BaseSettings):
    """Read with `Config()`; the names shared with `argus_ray.settings` mean the same."""

    model_config = SettingsConfigDict(env_prefix="ARGUS_", extra="ignore", frozen=True)

    local_database_url: SecretStr = Field(description="The owner's session connection to Postgres.")
    supabase_url: str = Field(description="This server as its clients reach it: part of every token's issuer.")
    local_supabase_host: str = Field("127.0.0.1", description="Address to listen on.")
    local_supabase_port: int = Field(
        0, ge=0, le=65535, description="Port to listen on; 0 takes that of `supabase_url`."
    )
    local_jwk_file: Path = Field(description="JWK Set of private ES256 keys: the first one signs, all of them verify.")
    publishable_key: SecretStr = Field(description="`sb_publishable_…`, for clients: role `anon`.")
    secret_key: SecretStr = Field(description="`sb_secret_…`, for servers: role `service_role`.")

    s3_endpoint: str = Field(description="S3 that keeps the bytes of Storage; `aws`: Amazon's own.")
    s3_access_key: SecretStr | None = Field(None, description="Access key; empty: boto3's own search.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret key.")
    s3_region: str = Field("us-east-1", description="Region that requests are signed for.")
    sse: Literal["AES256", "aws:kms", "none"] = Field("AES256", description="Server-side encryption on every write.")
    local_storage_bucket: str = Field("argus-storage", description="S3 bucket of Storage; made when it is not there.")

    access_token_expires_s: int = Field(3600, gt=0, description="Seconds that an access token is good for.")
    refresh_reuse_s: float = Field(
        10, ge=0, description="Seconds in which a used refresh token is forgiven: two tabs, one retry."
    )
    max_object_bytes: int = Field(50 * 2**20, gt=0, description="Largest object of Storage, in bytes.")
    max_message_bytes: int = Field(1 * 2**20, gt=0, description="Largest Realtime message, in bytes.")

    @property
    def issuer(self) -> str:
        return f"{self.supabase_url.rstrip('/')}/auth/v1"
