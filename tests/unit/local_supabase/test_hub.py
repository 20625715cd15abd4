"""Rooms, outboxes and presence, without sockets."""

from __future__ import annotations

import asyncio
import json

from argus_ray.local.supabase.hub import Hub, Member, Outbox, Room

ROOM = Room("x", private=True)


def a_member(hub: Hub, *, presence: bool = False, key: str = "k", room: Room = ROOM) -> Member:
    member = Member(room, f"realtime:{room.topic}", "1", "1.0.0", Outbox(), hears_presence=presence, presence_key=key)
    hub.join(member)
    return member


def heard(member: Member) -> list[dict]:
    return [json.loads(frame) for frame in member.outbox._frames]


def test_a_broadcast_reaches_the_room_and_no_other():
    hub = Hub()
    one, two, elsewhere = a_member(hub), a_member(hub), a_member(hub, room=Room("x", private=False))

    hub.broadcast(ROOM, {"event": "e"}, but=one)
    hub.leave(two)
    hub.broadcast(ROOM, {"event": "f"})

    assert [message["payload"]["event"] for message in heard(one)] == ["f"]
    assert [message["payload"]["event"] for message in heard(two)] == ["e"]
    assert heard(elsewhere) == []


def test_a_room_that_everybody_left_is_forgotten():
    hub = Hub()
    member = a_member(hub, presence=True)
    hub.track(member, {"a": 1})
    hub.leave(member)

    assert not hub._members
    assert not hub._present


def test_presence_is_replaced_by_a_later_track_and_ends_with_the_member():
    hub = Hub()
    watcher, member = a_member(hub, presence=True, key="w"), a_member(hub, key="m")

    hub.track(member, {"at": "work"})
    hub.track(member, {"at": "lunch"})
    state = hub.presence_state(ROOM)
    hub.leave(member)

    assert [meta["at"] for meta in state["m"]["metas"]] == ["lunch"]
    joins, change, leaves = (message["payload"] for message in heard(watcher))
    assert joins["joins"]["m"]["metas"][0]["at"] == "work"
    assert change["leaves"]["m"]["metas"][0]["phx_ref"] == joins["joins"]["m"]["metas"][0]["phx_ref"]
    assert leaves["leaves"]["m"]["metas"][0]["at"] == "lunch"
    assert hub.presence_state(ROOM) == {}


def test_two_members_with_one_key_are_both_present():
    hub = Hub()
    phone, laptop = a_member(hub), a_member(hub)
    hub.track(phone, {"on": "phone"})
    hub.track(laptop, {"on": "laptop"})

    hub.leave(phone)

    assert [meta["on"] for meta in hub.presence_state(ROOM)["k"]["metas"]] == ["laptop"]


def test_an_outbox_gives_frames_in_order_and_overflows_for_good():
    async def fill() -> None:
        outbox = Outbox(max_bytes=10, max_frames=100)
        outbox.put("12345")
        outbox.put("67890")
        assert [await outbox.get(), await outbox.get()] == ["12345", "67890"]
        for _ in range(3):
            outbox.put("12345")
        assert outbox.overflowed.is_set()
        outbox.put("more")
        assert not outbox._frames

    asyncio.run(fill())


def test_an_outbox_is_bounded_in_frames_too():
    outbox = Outbox(max_bytes=1000, max_frames=2)
    for _ in range(3):
        outbox.put("")

    assert outbox.overflowed.is_set()
