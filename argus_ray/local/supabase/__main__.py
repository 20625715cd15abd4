"""Serve the local Supabase until told to stop: `python -m argus_ray.local.supabase`, configured by ARGUS_ variables."""

from __future__ import annotations

from urllib.parse import urlsplit

import uvicorn

from argus_ray.local.supabase.app import create_app
from argus_ray.local.supabase.config import Config


def main() -> None:
    config = Config()
    uvicorn.run(
        create_app(config),
        host=config.local_supabase_host,
        port=config.local_supabase_port or urlsplit(config.supabase_url).port or 80,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=2 * config.max_message_bytes,  # ours answers first, and in words
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
