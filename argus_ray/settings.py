"""Every setting of Argus, typed, read once at the edge of a process and passed on as values.

A setting is an environment variable `ARGUS_<NAME>`. Where an address is empty, `argus up` starts that part itself and
the processes it starts are given the address by the same variable: there is one code path, and only settings differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEMO_SIGLIP2 = "demo:siglip2"
DEMO_SAM3 = "demo:sam3"
"""These stand for the folders of small weights inside the package, whatever machine the package is installed on."""


class Settings(BaseSettings):
    """Read with `Settings()`; unknown ARGUS_ variables are left alone, since other tools may own them."""

    model_config = SettingsConfigDict(env_prefix="ARGUS_", extra="ignore", frozen=True)

    home: Path = Field(
        Path("~/.local/share/argus"),
        description="Folder of everything `argus up` keeps: database, objects, keys, logs.",
    )

    # Postgres
    database_url: SecretStr | None = Field(
        None, description="Owner's connection, for migrations and to register models. Empty: PostgreSQL is started."
    )
    api_database_url: SecretStr | None = Field(
        None, description="The API's connection, as role `argus_api`; may be a transaction pooler."
    )
    worker_database_url: SecretStr | None = Field(
        None, description="The workers' connection, as role `argus_worker`; may be a transaction pooler."
    )
    listen_database_url: SecretStr | None = Field(
        None, description="A session connection as `argus_worker`, for LISTEN. Empty: the workers' connection."
    )

    # S3
    s3_endpoint: str | None = Field(
        None, description="S3 endpoint. Empty: SeaweedFS is started. `aws`: Amazon's own, with its usual credentials."
    )
    s3_public_endpoint: str | None = Field(
        None, description="Endpoint as clients reach it, for presigned URLs. Empty: the same."
    )
    s3_access_key: SecretStr | None = Field(
        None, description="Access key; empty: boto3's own search (profile, instance role)."
    )
    s3_secret_key: SecretStr | None = Field(None, description="Secret key.")
    s3_region: str = Field("us-east-1", description="Region that requests are signed for.")
    bucket: str = Field("argus", description="Bucket of originals and frames.")
    storage_class: str = Field("STANDARD", description="Storage class of originals.")
    sse: Literal["AES256", "aws:kms", "none"] = Field("AES256", description="Server-side encryption on every write.")

    # Supabase
    supabase_url: str | None = Field(
        None, description="Supabase project. Empty: the local subset (Auth, Storage, Realtime) is started."
    )
    publishable_key: SecretStr | None = Field(None, description="Supabase publishable (anon) key.")
    secret_key: SecretStr | None = Field(None, description="Supabase secret (service role) key.")
    jwt_issuer: str | None = Field(None, description="Issuer of access tokens. Empty: `<supabase_url>/auth/v1`.")
    jwt_audience: str = Field("authenticated", description="Audience of access tokens.")
    jwt_secret: SecretStr | None = Field(None, description="Legacy HS256 secret. Empty: HS256 tokens are refused.")
    jwt_leeway_s: float = Field(10, ge=0, description="Clock skew that is forgiven, in seconds.")

    # Ray and the API
    ray_address: str | None = Field(None, description="Ray head (`host:port` of GCS). Empty: a local head is started.")
    ray_dashboard_url: str | None = Field(None, description="Ray dashboard, where jobs are submitted.")
    ray_num_cpus: int = Field(
        4,
        ge=1,
        description="Logical CPUs of the local Ray head; a bookkeeping number, chosen so that the API, the models and one run fit on two cores.",
    )
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(0, ge=0, le=65535, description="Port of the API; 0 picks a free one.")
    public_url: str | None = Field(None, description="The API as clients reach it. Empty: from host and port.")
    cors_origins: list[str] = Field([], description="Origins that browsers may call the API from (JSON list).")
    max_body_bytes: int = Field(16 * 2**20, description="Largest request body, in bytes.")
    log_format: Literal["text", "json"] = Field("text", description="Form of log lines.")

    # Models
    siglip2_model: str = Field(
        "google/siglip2-base-patch16-224",
        description="SigLIP 2 weights: hub id, folder, `s3://…`, or `demo:siglip2` for the small ones that ship with Argus.",
    )
    sam3_model: str = Field(
        "facebook/sam3",
        description="SAM 3 weights: hub id, folder, `s3://…`, or `demo:sam3` for the small ones that ship with Argus.",
    )
    device: str = Field("auto", description="Device of the models: `auto`, `cpu`, `cuda`.")

    # Uploads
    multipart_threshold_bytes: int = Field(64 * 2**20, description="Uploads of this size and above are multipart.")
    upload_expires_s: int = Field(24 * 3600, description="Seconds after which an unfinished upload is swept.")
    url_expires_s: int = Field(3600, description="Seconds that a presigned URL is good for.")
    import_prefixes: list[str] = Field(
        [], description="`s3://bucket/prefix` that projects may import from without copying (JSON list). Empty: none."
    )

    # Limits against hostile files
    max_import_bytes: int = Field(4 * 2**30, description="Largest file of annotations to import, in bytes.")
    max_size_bytes: int = Field(100 * 2**30, description="Largest video, in bytes.")
    max_duration_s: float = Field(24 * 3600, description="Longest video, in seconds.")
    max_pixels: int = Field(8192 * 4608, description="Most pixels of one picture.")
    max_video_frames: int = Field(10_000_000, description="Most pictures in one video.")
    max_frames_kept: int = Field(200_000, description="Most frames kept of one video.")
    decode_memory_bytes: int = Field(
        3 * 2**30, description="Address space of a decoding process beyond what it starts with."
    )
    decode_timeout_s: float = Field(
        900, description="Longest wall time for one segment; the decoding process is killed after it."
    )
    decode_stall_s: float = Field(120, description="Longest wait for the next picture of a segment.")

    # Ingest
    frame_long_side: int = Field(
        1920, ge=64, description="Long side up to which frames keep their displayed size, in pixels."
    )
    jpeg_quality: int = Field(85, ge=1, le=100, description="JPEG quality of frames.")
    chunk_frames: int = Field(32, ge=1, le=256, description="Frames that travel together through the pipeline.")
    segment_decode_frames: int = Field(3000, ge=1, description="Frames to decode in one segment, about 30 s of work.")
    extractors: int = Field(2, ge=1, description="Extractor actors of one run.")
    embedders: int = Field(1, ge=1, description="Embedder actors of one run.")
    finders: int = Field(1, ge=1, description="SAM 3 actors of one run of autolabel or track.")
    linger_s: float = Field(120, ge=0, description="Seconds that a run waits at an empty queue before it ends.")
    max_life_s: float = Field(3600, gt=0, description="Seconds after which a run takes nothing new.")
    lease_s: float = Field(30, gt=0, description="Seconds that a run's lease lasts without renewal.")
    max_attempts: int = Field(3, ge=1, description="Starts of one segment before its video fails.")
    scratch: Path | None = Field(
        None, description="Scratch folder of extractors. Empty: the system's temporary folder."
    )

    def secret(self, name: str) -> str | None:
        """The plain text of a secret setting, or None. For the moment of use only."""
        value: SecretStr | None = getattr(self, name)
        return value.get_secret_value() if value else None
