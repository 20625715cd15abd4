"""What happens in a project, as it happens: messages of its private Realtime channel, through Supabase's own client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from realtime import AsyncRealtimeClient, RealtimeSubscribeStates
from realtime.types import RealtimeChannelOptions
from websockets.exceptions import WebSocketException

from argus_ray.client.session import RENEW_BEFORE_S, SessionAuth
from argus_ray.errors import Unavailable

EVENTS = ("video", "job", "labels", "tracks", "annotations", "verdicts")
PRIVATE: RealtimeChannelOptions = {"config": {"broadcast": None, "presence": None, "private": True}}


@dataclass(frozen=True)
class Event:
    """`kind` is `video` or `job`, whose `payload` has its id, state, progress and reason; or `labels`, `tracks`, `annotations`
    or `verdicts`, whose `payload` says how many have `changed` by what `action` and, but for labels, in which video from
    `from_us` to `to_us`; few are named by `ids`.

    A `gap` says that the connection was lost and is back: what was told meanwhile is to be read from the API.
    """

    kind: str
    payload: Mapping[str, Any]


@asynccontextmanager
async def events(session: SessionAuth, project_id: UUID | str) -> AsyncIterator[asyncio.Queue[Event]]:
    """A queue that fills with the project's events while the block lasts. Once it is entered, none is missed in silence.

    Raises Unavailable when Realtime does not let the caller in: not a member, or not there.
    """
    held = session.credentials
    token = await session.token_async()
    received: asyncio.Queue[Event] = asyncio.Queue()
    client = AsyncRealtimeClient(f"{held.supabase_url.rstrip('/')}/realtime/v1", token=held.publishable_key)
    entered, refused = False, "no answer"

    def state(status: RealtimeSubscribeStates, error: Exception | None) -> None:
        nonlocal entered, refused
        if status != RealtimeSubscribeStates.SUBSCRIBED:
            refused = str(error or status)
        elif entered:
            received.put_nowait(Event("gap", {}))
        else:
            entered = True

    def put(kind: str, message: Any) -> None:
        received.put_nowait(Event(kind, message["payload"]))

    renewal: asyncio.Task[None] | None = None
    try:
        await client.set_auth(token)
        channel = client.channel(f"project:{project_id}", PRIVATE)
        for kind in EVENTS:
            channel.on_broadcast(kind, lambda message, kind=kind: put(kind, message))  # type: ignore[misc]  # bound now
        try:
            await channel.subscribe(state)
        except (OSError, WebSocketException) as error:
            raise Unavailable(f"Realtime at {held.supabase_url} does not answer: {error}") from error
        if not entered:
            raise Unavailable(f"Realtime does not let you listen to project {project_id}: {refused}")
        renewal = asyncio.create_task(_renew(client, session))
        yield received
    finally:
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        await client.close()


async def _renew(client: AsyncRealtimeClient, session: SessionAuth) -> None:
    """Tell Realtime each new token before the old one ends, since it closes the channel then."""
    while True:
        await asyncio.sleep(max(1, session.credentials.expires_at - time.time() - RENEW_BEFORE_S + 1))
        with contextlib.suppress(Unavailable):  # asked again in a second
            await client.set_auth(await session.token_async())
