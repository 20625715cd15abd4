"""Argus from Python: `Client` and `AsyncClient`.

from argus_ray.client import Client

with Client("http://127.0.0.1:8000", "argus_…") as argus:
    video = argus.videos.upload(project_id, "street.mp4")
    for hit in argus.search(project_id, "a red car on grass").items:
        print(hit.video_name, hit.pts_us / 1e6, hit.score)
"""

from argus_ray.client.client import AsyncClient, Client
from argus_ray.client.session import ApiKeyAuth, Credentials, SessionAuth, renewed, sign_in, sign_out, sign_up

__all__ = [
    "ApiKeyAuth",
    "AsyncClient",
    "Client",
    "Credentials",
    "SessionAuth",
    "renewed",
    "sign_in",
    "sign_out",
    "sign_up",
]
