"""Who listens to which topic, and how a message reaches them: rooms, members, presence.

A topic has two rooms, the private and the public one, as on Supabase: what is sent to one is not heard in the other.
A member's messages wait in its socket's outbox, which is bounded in bytes: whoever reads too slowly is dropped and may
come back, instead of growing here. One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from argus_ray.local.supabase import protocol
from argus_ray.local.supabase.protocol import Message, Vsn

MAX_OUTBOX_BYTES = 8 * 2**20
MAX_OUTBOX_FRAMES = 2000


class Room(NamedTuple):
    """What is heard together: `topic` without the prefix `realtime:` of the wire."""

    topic: str
    private: bool


class Outbox:
    """Frames that wait for one socket. Once overflowed it takes nothing more: the socket is to be closed."""

    def __init__(self, max_bytes: int = MAX_OUTBOX_BYTES, max_frames: int = MAX_OUTBOX_FRAMES) -> None:
        self.max_bytes, self.max_frames = max_bytes, max_frames
        self.overflowed = asyncio.Event()
        self._frames: deque[str | bytes] = deque()
        self._size_bytes = 0
        self._waiting = asyncio.Event()

    def put(self, frame: str | bytes) -> None:
        if self.overflowed.is_set():
            return
        self._frames.append(frame)
        self._size_bytes += len(frame)
        if self._size_bytes > self.max_bytes or len(self._frames) > self.max_frames:
            self.overflowed.set()
            self._frames.clear()
        self._waiting.set()

    async def get(self) -> str | bytes:
        """The next frame, when there is one."""
        while not self._frames:
            self._waiting.clear()
            await self._waiting.wait()
        frame = self._frames.popleft()
        self._size_bytes -= len(frame)
        return frame


@dataclass(eq=False)
class Member:
    """One channel of one socket: joined to one room."""

    room: Room
    topic: str  # as on the wire
    join_ref: str | None
    vsn: Vsn
    outbox: Outbox
    hears_broadcasts: bool = True
    hears_presence: bool = False
    presence_key: str = ""
    presence_refs: set[str] = field(default_factory=set)

    def push(self, event: str, payload: dict[str, Any]) -> None:
        frame = protocol.encode(self.vsn, Message(self.topic, event, payload))
        if frame is not None:
            self.outbox.put(frame)


class Hub:
    """The rooms of this process."""

    def __init__(self) -> None:
        self._members: defaultdict[Room, set[Member]] = defaultdict(set)
        self._present: defaultdict[Room, dict[str, dict[str, dict[str, Any]]]] = defaultdict(dict)  # key, ref, meta

    def join(self, member: Member) -> None:
        self._members[member.room].add(member)

    def leave(self, member: Member) -> None:
        self.untrack(member)
        members = self._members[member.room]
        members.discard(member)
        if not members:
            del self._members[member.room]

    def broadcast(self, room: Room, payload: dict[str, Any], *, but: Member | None = None) -> None:
        """Send `{"type": "broadcast", "event", "payload", "meta"?}` to everybody in the room."""
        for member in self._members.get(room, ()):
            if member is not but and member.hears_broadcasts:
                member.push("broadcast", payload)

    # -- presence --------------------------------------------------------------------------------

    def presence_state(self, room: Room) -> dict[str, Any]:
        present = self._present.get(room, {})
        return {key: {"metas": [_meta(ref, meta) for ref, meta in metas.items()]} for key, metas in present.items()}

    def track(self, member: Member, meta: dict[str, Any]) -> None:
        """Say that a member is here, in its own words; the words of an earlier call are replaced."""
        leaves = self._remove(member)
        ref = secrets.token_urlsafe(9)
        member.presence_refs.add(ref)
        self._present[member.room].setdefault(member.presence_key, {})[ref] = meta
        joins = {member.presence_key: {"metas": [_meta(ref, meta)]}}
        self._tell(member.room, {"joins": joins, "leaves": leaves})

    def untrack(self, member: Member) -> None:
        if leaves := self._remove(member):
            self._tell(member.room, {"joins": {}, "leaves": leaves})

    def _remove(self, member: Member) -> dict[str, Any]:
        present = self._present[member.room]
        metas = present.get(member.presence_key, {})
        gone = [_meta(ref, metas.pop(ref)) for ref in member.presence_refs if ref in metas]
        member.presence_refs.clear()
        if not metas:
            present.pop(member.presence_key, None)
        if not present:
            del self._present[member.room]
        return {member.presence_key: {"metas": gone}} if gone else {}

    def _tell(self, room: Room, diff: dict[str, Any]) -> None:
        for member in self._members.get(room, ()):
            if member.hears_presence:
                member.push("presence_diff", diff)


def _meta(ref: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {**meta, "phx_ref": ref}
