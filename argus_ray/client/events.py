"""What happens in a project, as it happens: messages of its private Realtime channel, through Supabase's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from realtime import AsyncRealtimeClient, RealtimeSubscribeStates
from realtime.types import RealtimeChannelOptions

from argus_ray.client.session import SessionAuth
from argus_ray.errors import Unavailable

EVENTS = ("video", "job")
PRIVATE: RealtimeChannelOptions = {"config": {"broadcast": None, "presence": None, "private": True}}


@dataclass(frozen=True)
class Event:
    """`kind` is `video` or `job`; `payload` has its id, state, progress and reason."""

    kind: str
    payload: Mapping[str, Any]


@asynccontextmanager
async def events(session: SessionAuth, project_id: UUID | str) -> AsyncIterator[asyncio.Queue[Event]]:
    """A queue that fills with the project's events while the block lasts. Once it is entered, none is missed.

    Raises Unavailable when Realtime does not let the caller in: not a member, or not there.
    """
    credentials = session.credentials
    token = await asyncio.to_thread(session.token)
    received: asyncio.Queue[Event] = asyncio.Queue()
    client = AsyncRealtimeClient(
        f"{credentials.supabase_url.rstrip('/')}/realtime/v1", token=credentials.publishable_key
    )
    refused: list[object] = []

    def state(status: RealtimeSubscribeStates, error: Exception | None) -> None:
        if status != RealtimeSubscribeStates.SUBSCRIBED:
            refused.append(error or status)

    try:
        await client.set_auth(token)
        channel = client.channel(f"project:{project_id}", PRIVATE)
        for kind in EVENTS:

            def put(message: Any, kind: str = kind) -> None:
                received.put_nowait(Event(kind, message["payload"]))

            channel.on_broadcast(kind, put)
        await channel.subscribe(state)
        if refused:
            raise Unavailable(f"Realtime does not let you listen to project {project_id}: {refused[0]}")
        yield received
    finally:
        await client.close()
