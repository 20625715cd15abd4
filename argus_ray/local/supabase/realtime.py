"""Realtime: sockets that join topics, and HTTP that sends into them.

    socket ──phx_join──▶ channel ──▶ hub's room ◀── feed (database) ◀── realtime.messages
                            └─ broadcast, presence ─▶ room ◀── POST api/broadcast

A socket is one task that reads and one that writes. It is closed when its client stops reading (the outbox is bounded)
or sends what is not the protocol. `postgres_changes` is not here: a channel that asks for it is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import Annotated, Any

import jwt
import psycopg
from fastapi import WebSocket, WebSocketDisconnect
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, Field, ValidationError

from argus_ray.local.supabase import protocol
from argus_ray.local.supabase.feed import Feed
from argus_ray.local.supabase.gateway import Claims, NoApiKey
from argus_ray.local.supabase.hub import Hub, Member, Outbox, Room
from argus_ray.local.supabase.protocol import Message, ProtocolError, Vsn
from argus_ray.local.supabase.realtime_rights import EVERYTHING, Rights, rights
from argus_ray.local.supabase.replay import Replay, replay
from argus_ray.local.supabase.services import Services

log = logging.getLogger(__name__)

PREFIX = "realtime:"
MAX_CHANNELS = 100
TOO_BIG, TRY_AGAIN_LATER, INVALID = 1009, 1013, 1007  # close codes, RFC 6455

Name = Annotated[str, Field(min_length=1, max_length=protocol.MAX_NAME_BYTES)]


class BroadcastConfig(BaseModel):
    ack: bool = False
    echo: bool = Field(False, alias="self")
    replication_ready: bool = False
    replay: Replay | None = None


class PresenceConfig(BaseModel):
    key: str = Field("", max_length=protocol.MAX_NAME_BYTES)
    enabled: bool = False


class ChannelConfig(BaseModel):
    broadcast: BroadcastConfig | None = None
    presence: PresenceConfig | None = None
    private: bool = False
    postgres_changes: list[dict[str, Any]] | None = Field(None, max_length=100)


class Join(BaseModel):
    config: ChannelConfig = ChannelConfig()
    access_token: str | None = None


class Refused(Exception):
    """A join or a token is refused; the text is the reason that the client sees."""


class BadFrame(Exception):
    """What came is not the protocol, or too much of it: the socket is closed with this code."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code


class Channel:
    """One topic joined by one socket: a member of a room, with the caller's rights and the end of their token."""

    def __init__(self, member: Member, config: ChannelConfig, may: Rights) -> None:
        self.member, self.config, self.may = member, config, may
        self.expiry: asyncio.TimerHandle | None = None

    def system(self, status: str, message: str, extension: str = "system") -> None:
        self.member.push(
            "system",
            {"channel": self.member.room.topic, "extension": extension, "status": status, "message": message},
        )


class Socket:
    """One client's connection and its channels."""

    def __init__(self, here: Services, hub: Hub, feed: Feed, vsn: Vsn, of_key: Claims) -> None:
        self.here, self.hub, self.feed, self.vsn, self.of_key = here, hub, feed, vsn, of_key
        self.outbox = Outbox()
        self.channels: dict[str, Channel] = {}

    # -- what comes in ---------------------------------------------------------------------------

    async def receive(self, message: Message) -> None:
        if message.topic == "phoenix" and message.event == "heartbeat":
            self._reply(message, "ok")
            return
        if message.event == "phx_join":
            await self._join(message)
            return
        channel = self.channels.get(message.topic)
        if channel is None or message.join_ref not in {None, channel.member.join_ref}:
            # An earlier joining's message, or a topic that was never joined.
            self._reply(message, "error", {"reason": "unmatched topic"})
            return
        match message.event:
            case "phx_leave":
                self._reply(message, "ok")
                self._close(channel)
            case "access_token":
                await self._refresh(channel, message.payload.get("access_token"))
            case "broadcast":
                self._broadcast(channel, message)
            case "presence":
                self._presence(channel, message)
            case _:
                self._reply(message, "error", {"reason": f"unknown event {message.event[:40]!r}"})

    async def _join(self, message: Message) -> None:
        if old := self.channels.get(message.topic):  # a client that comes back without having left
            self._close(old)
        try:
            channel, expires_at = await self._admitted(message)
        except Refused as refused:
            self._reply(message, "error", {"reason": str(refused)})
            return
        self.channels[message.topic] = channel
        self.hub.join(channel.member)
        self._watch_expiry(channel, expires_at)
        wanted = channel.config.postgres_changes or []
        self._reply(message, "ok", {"postgres_changes": [{"id": i, **change} for i, change in enumerate(wanted, 1)]})
        if wanted:
            channel.system(
                "error",
                "postgres_changes is not in the local Supabase: send from the database with realtime.broadcast_changes",
                "postgres_changes",
            )
        if channel.member.hears_presence:
            channel.member.push("presence_state", self.hub.presence_state(channel.member.room))
        broadcast = channel.config.broadcast or BroadcastConfig()
        if broadcast.replay:
            await replay(self.here.pool, channel.member, broadcast.replay)
        if broadcast.replication_ready and self.feed.connected.is_set():
            channel.system("ok", "Replication connection established")

    async def _admitted(self, message: Message) -> tuple[Channel, float | None]:
        if not message.topic.startswith(PREFIX) or message.topic == PREFIX:
            raise Refused(f"the topic must begin with {PREFIX!r} and a name")
        if len(self.channels) >= MAX_CHANNELS:
            raise Refused(f"ChannelRateLimitReached: at most {MAX_CHANNELS} channels a connection")
        try:
            join = Join.model_validate(message.payload)
        except ValidationError as error:
            first = error.errors()[0]
            raise Refused(f"InvalidJoinPayload: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        config = join.config
        presence = config.presence or PresenceConfig()
        room = Room(message.topic.removeprefix(PREFIX), config.private)
        claims = self._claims(join.access_token)
        may = await self._rights(room, claims)
        member = Member(
            room=room,
            topic=message.topic,
            join_ref=message.join_ref or message.ref,
            vsn=self.vsn,
            outbox=self.outbox,
            hears_broadcasts="broadcast" in may.hears,
            hears_presence=presence.enabled and "presence" in may.hears,
            presence_key=presence.key or str(uuid.uuid4()),
        )
        return Channel(member, config, may), claims.get("exp")

    def _claims(self, token: str | None) -> Claims:
        try:
            return self.here.gateway.claims_of(token, self.of_key)
        except jwt.ExpiredSignatureError as error:
            raise Refused("InvalidJWTToken: Token has expired") from error
        except jwt.InvalidTokenError as error:
            raise Refused("InvalidJWTToken: the token is malformed or not from here") from error

    async def _rights(self, room: Room, claims: Claims) -> Rights:
        """What the caller may do in the room. Raises: Refused when they may not even listen."""
        if not room.private:
            return EVERYTHING
        try:
            may = await rights(self.here.pool, claims, room.topic)
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Refused("UnableToConnectToProject: Postgres does not answer, try again") from error
        except psycopg.Error as error:
            log.warning("the policies on realtime.messages failed: %s", error)
            raise Refused("RlsPolicyError: the policies on realtime.messages fail for this topic") from error
        if not may.hears:
            raise Refused(f"Unauthorized: You do not have permissions to read from this Channel topic: {room.topic}")
        return may

    async def _refresh(self, channel: Channel, token: Any) -> None:
        """Take a newer token, and what it allows; one that is refused ends the channel."""
        try:
            claims = self._claims(token if isinstance(token, str) else None)
            may = await self._rights(channel.member.room, claims)
        except Refused as refused:
            channel.system("error", str(refused))
            self._close(channel)
            return
        channel.may = may
        channel.member.hears_broadcasts = "broadcast" in may.hears
        channel.member.hears_presence &= "presence" in may.hears
        self._watch_expiry(channel, claims.get("exp"))

    def _broadcast(self, channel: Channel, message: Message) -> None:
        config = channel.config.broadcast or BroadcastConfig()
        event = message.payload.get("event")
        if not protocol.is_name(event):
            self._reply(message, "error", {"reason": "a broadcast names its event in at most 255 bytes"})
            return
        if "broadcast" not in channel.may.says:
            if config.ack:
                self._reply(message, "error", {"reason": "Unauthorized: you may not send to this topic"})
            return
        sent = {"type": "broadcast", "event": event, "payload": message.payload.get("payload", {})}
        if isinstance(message.payload.get("meta"), dict):
            sent["meta"] = message.payload["meta"]
        self.hub.broadcast(channel.member.room, sent, but=None if config.echo else channel.member)
        if config.ack:
            self._reply(message, "ok")

    def _presence(self, channel: Channel, message: Message) -> None:
        if "presence" not in channel.may.says:
            self._reply(message, "error", {"reason": "Unauthorized: you may not be present in this topic"})
            return
        member, meta = channel.member, message.payload.get("payload", {})
        match message.payload.get("event"):
            case "track" if isinstance(meta, dict):
                if not member.hears_presence and "presence" in channel.may.hears:
                    member.hears_presence = True
                    member.push("presence_state", self.hub.presence_state(member.room))
                self.hub.track(member, meta)
            case "untrack":
                self.hub.untrack(member)
            case _:
                self._reply(message, "error", {"reason": "a presence is `track` with an object, or `untrack`"})
                return
        self._reply(message, "ok")

    # -- what goes out ---------------------------------------------------------------------------

    def _reply(self, message: Message, status: str, response: dict[str, Any] | None = None) -> None:
        payload = {"status": status, "response": response or {}}
        frame = protocol.encode(
            self.vsn, Message(message.topic, "phx_reply", payload, message.ref, message.join_ref or message.ref)
        )
        if frame is not None:
            self.outbox.put(frame)

    def _watch_expiry(self, channel: Channel, expires_at: float | None) -> None:
        if channel.expiry:
            channel.expiry.cancel()
        if expires_at is not None:
            in_s = max(0.0, expires_at - time.time())
            channel.expiry = asyncio.get_running_loop().call_later(in_s, self._expire, channel)

    def _expire(self, channel: Channel) -> None:
        channel.system("error", "Token has expired 0 seconds ago")
        self._close(channel)

    def _close(self, channel: Channel) -> None:
        self._forget(channel)
        member = channel.member
        frame = protocol.encode(
            self.vsn, Message(member.topic, "phx_close", {}, ref=member.join_ref, join_ref=member.join_ref)
        )
        if frame is not None:
            self.outbox.put(frame)

    def _forget(self, channel: Channel) -> None:
        if channel.expiry:
            channel.expiry.cancel()
        self.hub.leave(channel.member)
        if self.channels.get(channel.member.topic) is channel:
            del self.channels[channel.member.topic]

    def gone(self) -> None:
        for channel in list(self.channels.values()):
            self._forget(channel)


# -- the socket's two tasks ----------------------------------------------------------------------


async def serve(websocket: WebSocket) -> None:
    """`/websocket?apikey=&vsn=`: serve a client until it goes."""
    here, hub, feed = websocket.app.state.services, websocket.app.state.hub, websocket.app.state.feed
    query = websocket.query_params
    try:
        of_key = here.gateway.role_of(query.get("apikey") or websocket.headers.get("apikey", ""))
        vsn = protocol.version(query.get("vsn"))
    except (NoApiKey, ProtocolError):
        await websocket.close()  # before it is accepted: HTTP 403
        return
    await websocket.accept()
    socket = Socket(here, hub, feed, vsn, of_key)
    tasks = {
        asyncio.create_task(_read(websocket, socket, here.config.max_message_bytes)),
        asyncio.create_task(_write(websocket, socket.outbox)),
        asyncio.create_task(socket.outbox.overflowed.wait()),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        socket.gone()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BadFrame):
            await websocket.close(outcome.close_code, str(outcome))
        elif isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
            raise outcome
    if socket.outbox.overflowed.is_set():
        log.warning("a Realtime client reads too slowly and is dropped")
        with contextlib.suppress(TimeoutError, WebSocketDisconnect):
            # It may read nothing more at all: then the server ends the connection by itself.
            await asyncio.wait_for(websocket.close(TRY_AGAIN_LATER, "the client reads too slowly"), timeout=1)


async def _read(websocket: WebSocket, socket: Socket, max_bytes: int) -> None:
    while True:
        received = await websocket.receive()
        if received["type"] == "websocket.disconnect":
            return
        text: str | None = received.get("text")
        frame: str | bytes = received["bytes"] if text is None else text
        if len(frame) > max_bytes:
            raise BadFrame(TOO_BIG, f"a message has at most {max_bytes} bytes")
        try:
            message = protocol.decode(socket.vsn, frame)
        except ProtocolError as error:
            raise BadFrame(INVALID, str(error)) from error
        await socket.receive(message)


async def _write(websocket: WebSocket, outbox: Outbox) -> None:
    """Send what waits; a client that does not read stops this at `send`, until its outbox overflows."""
    while True:
        frame = await outbox.get()
        if isinstance(frame, str):
            await websocket.send_text(frame)
        else:
            await websocket.send_bytes(frame)
