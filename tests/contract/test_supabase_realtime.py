"""Realtime through the official client, and through bare sockets where it speaks only one version or behaves too well."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager
from typing import Any

import jwt
import psycopg
import pytest
from websockets import ConnectionClosed, InvalidStatus
from websockets.asyncio.client import ClientConnection, connect

from argus_ray.local import postgres as local_postgres
from argus_ray.local import process
from tests import local_supabase
from tests.local_supabase import LocalSupabase

PATIENCE_S = 20


@pytest.fixture(scope="module", autouse=True)
def policies(supabase) -> None:
    """People hear the topics `open:…` and `own:<their id>`, and may speak in the first."""
    supabase.execute(
        """
        create policy "Hear" on realtime.messages for select to authenticated
        using (realtime.topic() like 'open:%%' or realtime.topic() = 'own:' || auth.uid()::text);
        create policy "Speak" on realtime.messages for insert to authenticated
        with check (realtime.topic() like 'open:%%')
        """
    )


def a_topic(kind: str = "open") -> str:
    return f"{kind}:{uuid.uuid4().hex}"


def options(*, private: bool = True, ack: bool = False, echo: bool = False, presence: bool = False) -> Any:
    return {
        "config": {
            "broadcast": {"ack": ack, "self": echo},
            "presence": {"key": "", "enabled": presence},
            "private": private,
        }
    }


class Heard:
    """Broadcasts in the order in which a channel heard them."""

    def __init__(self, channel: Any) -> None:
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        channel.on_broadcast("*", self.queue.put_nowait)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.queue.get(), PATIENCE_S)


async def joined(client: Any, topic: str, **how: Any) -> tuple[Any, Heard]:
    channel = client.channel(topic, options(**how))
    heard = Heard(channel)
    states: list[Any] = []
    await channel.subscribe(lambda state, _: states.append(state.value))
    assert states == ["SUBSCRIBED"]
    return channel, heard


def send(supabase: LocalSupabase, topic: str, event: str, payload: Any, *, private: bool = True) -> None:
    supabase.execute("select realtime.send(%s::jsonb, %s, %s, %s)", json.dumps(payload), event, topic, private)


async def in_thread(function: Any, *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *arguments, **named)


class Bare:
    """A socket that speaks Phoenix by hand, in either version."""

    def __init__(self, socket: ClientConnection, vsn: str) -> None:
        self.socket, self.vsn = socket, vsn

    async def push(
        self, topic: str, event: str, payload: Any, ref: str | None = "1", join_ref: str | None = "1"
    ) -> None:
        if self.vsn == "2.0.0":
            await self.socket.send(json.dumps([join_ref, ref, topic, event, payload]))
        else:
            message = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref}
            await self.socket.send(json.dumps(message))

    async def next(self, event: str) -> dict[str, Any]:
        """The next message of this kind, as of version 1; others are passed over."""
        while True:
            frame = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
            if isinstance(frame, bytes):
                return {"event": "binary", "frame": frame}
            message = json.loads(frame)
            if self.vsn == "2.0.0":
                message = dict(zip(("join_ref", "ref", "topic", "event", "payload"), message, strict=True))
            if message["event"] == event:
                return message

    async def everything(self, into: list[Any]) -> None:
        """Read until the socket is closed, which raises ConnectionClosed."""
        while True:
            into.append(await self.socket.recv())

    async def join(self, topic: str, token: str | None = None, **config: Any) -> dict[str, Any]:
        await self.push(f"realtime:{topic}", "phx_join", {"config": config, "access_token": token})
        return (await self.next("phx_reply"))["payload"]


@asynccontextmanager
async def bare(supabase: LocalSupabase, vsn: str = "1.0.0", key: str | None = None, **how: Any):
    address = supabase.url.replace("http", "ws", 1)
    key = supabase.publishable_key if key is None else key
    async with connect(f"{address}/realtime/v1/websocket?apikey={key}&vsn={vsn}", proxy=None, **how) as socket:
        yield Bare(socket, vsn)


# -- from the database ---------------------------------------------------------------------------


def test_what_the_database_sends_arrives_in_order_once_and_whole(supabase):
    topic = a_topic()

    async def listen() -> list[dict[str, Any]]:
        async with supabase.person_async() as client:
            _, heard = await joined(client, topic)
            for number in range(20):
                # more than a notification holds
                await in_thread(send, supabase, topic, "progress", {"number": number, "text": "x" * 20_000})
            return [await heard.next() for _ in range(20)]

    messages = asyncio.run(listen())

    assert [message["payload"]["number"] for message in messages] == list(range(20))
    assert {message["event"] for message in messages} == {"progress"}
    assert all(message["payload"]["id"] == message["meta"]["id"] for message in messages)


def test_a_transaction_that_commits_after_a_later_one_is_heard_too(supabase):
    topic = a_topic()

    async def listen() -> list[str]:
        async with supabase.person_async() as client:
            _, heard = await joined(client, topic)

            def out_of_order() -> None:
                with psycopg.connect(supabase.database_url) as slow:
                    slow.execute("select realtime.send('{}', 'slow', %s)", [topic])
                    send(supabase, topic, "fast", {})

            await in_thread(out_of_order)
            return [(await heard.next())["event"] for _ in range(2)]

    assert sorted(asyncio.run(listen())) == ["fast", "slow"]


def test_row_changes_are_sent_by_a_trigger(supabase):
    topic, table = a_topic(), f"t_{uuid.uuid4().hex[:12]}"
    supabase.execute(
        f"""
        create table {table} (id int, name text);
        create function {table}_changed() returns trigger language plpgsql security definer as $$
        begin
          perform realtime.broadcast_changes('{topic}', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
          return null;
        end $$;
        create trigger changed after insert or update or delete on {table}
        for each row execute function {table}_changed()
        """
    )

    async def listen() -> list[dict[str, Any]]:
        async with supabase.person_async() as client:
            _, heard = await joined(client, topic)
            for statement in (
                f"insert into {table} values (1, 'a')",
                f"update {table} set name = 'b'",
                f"delete from {table}",
            ):
                await in_thread(supabase.execute, statement)
            return [(await heard.next())["payload"] for _ in range(3)]

    made, changed, gone = asyncio.run(listen())

    assert (made["operation"], made["table"], made["record"], made["old_record"]) == (
        "INSERT",
        table,
        {"id": 1, "name": "a"},
        None,
    )
    assert (changed["record"]["name"], changed["old_record"]["name"]) == ("b", "a")
    assert (gone["record"], gone["old_record"]["name"]) == (None, "b")


def test_a_message_that_cannot_be_sent_does_not_undo_the_work_it_tells_of(supabase):
    with psycopg.connect(supabase.database_url) as connection:
        connection.execute("create temp table work (id int)")
        connection.execute("insert into work values (1)")
        connection.execute("select realtime.send('7', 'not an object', 'open:x')")
        assert connection.execute("select count(*) from work").fetchone() == (1,)


def test_the_public_and_the_private_room_of_a_topic_are_two(supabase):
    topic = a_topic()

    async def listen() -> tuple[str, str]:
        async with supabase.person_async() as inside, supabase.person_async() as outside:
            _, private = await joined(inside, topic)
            _, public = await joined(outside, topic, private=False)
            await in_thread(send, supabase, topic, "secret", {}, private=True)
            await in_thread(send, supabase, topic, "news", {}, private=False)
            return (await private.next())["event"], (await public.next())["event"]

    assert asyncio.run(listen()) == ("secret", "news")


def test_nothing_is_lost_when_postgres_is_killed(tmp_path, s3):
    server = local_postgres.start(tmp_path, durable=False)
    topic = a_topic("any")

    async def listen(supabase: LocalSupabase) -> list[int]:
        async with bare(supabase) as socket:
            assert (await socket.join(topic, private=False))["status"] == "ok"
            await in_thread(send, supabase, topic, "n", {"n": 0}, private=False)
            heard = [(await socket.next("broadcast"))["payload"]["payload"]["n"]]

            def kill_and_send() -> None:
                server.process.kill()
                server.process.wait()
                revived.append(process.spawn(server.program))
                process.wait_ready(server.program, revived[0])
                for number in range(1, 6):  # before or after the feed has come back: it must not matter
                    send(supabase, topic, "n", {"n": number}, private=False)

            kill_and_send()  # here: a child ends with the thread that started it
            return heard + [(await socket.next("broadcast"))["payload"]["payload"]["n"] for _ in range(5)]

    revived: list[Any] = []
    try:
        with local_supabase.running(server, s3, tmp_path) as supabase:
            assert asyncio.run(listen(supabase)) == list(range(6))
            assert supabase.person().auth.get_user()
    finally:
        for running in [server.process, *revived]:
            process.stop(server.program, running)


# -- who may -------------------------------------------------------------------------------------


def test_the_policies_decide_who_joins_a_private_topic(supabase):
    async def try_to_join() -> dict[str, tuple[str, Any]]:
        ann, bob = await in_thread(supabase.person), await in_thread(supabase.person)
        own = f"own:{ann.auth.get_user().user.id}"
        good = ann.auth.get_session().access_token
        claims = jwt.decode(good, options={"verify_signature": False})
        tokens = {
            "herself": good,
            "another": bob.auth.get_session().access_token,
            "nobody": None,
            "the key": supabase.publishable_key,
            "unsigned": jwt.encode(claims, None, "none", headers={"kid": supabase.signing.signing.key_id}),
            "expired": supabase.signing.sign({**claims, "exp": int(time.time()) - 1}),
        }
        answers = {}
        for who, token in tokens.items():
            async with bare(supabase) as socket:
                reply = await socket.join(own, token, private=True)
                answers[who] = reply["status"], reply["response"].get("reason", "")
        async with bare(supabase, key=supabase.secret_key) as socket:
            answers["the server"] = (await socket.join(own, private=True))["status"], ""
        return answers

    answers = asyncio.run(try_to_join())

    assert answers.pop("herself")[0] == answers.pop("the server")[0] == "ok"
    assert {status for status, _ in answers.values()} == {"error"}
    assert answers["another"][1].startswith("Unauthorized: You do not have permissions to read")
    assert "expired" in answers["expired"][1]


def test_who_may_only_listen_is_not_heard(supabase):
    async def speak() -> tuple[str, str]:
        ann = await in_thread(supabase.person)
        own = f"own:{ann.auth.get_user().user.id}"
        token = ann.auth.get_session().access_token
        async with bare(supabase) as speaker, bare(supabase) as listener:
            for socket in (speaker, listener):
                await socket.join(own, token, private=True, broadcast={"ack": True})
            message = {"type": "broadcast", "event": "forged", "payload": {}}
            await speaker.push(f"realtime:{own}", "broadcast", message, ref="2")
            reply = (await speaker.next("phx_reply"))["payload"]["status"]
            await in_thread(send, supabase, own, "true", {})
            return reply, (await listener.next("broadcast"))["payload"]["event"]

    assert asyncio.run(speak()) == ("error", "true")


def test_a_token_that_expires_ends_the_channel_and_a_newer_one_prolongs_it(supabase):
    async def outlive() -> tuple[str, str]:
        ann = await in_thread(supabase.person)
        claims = jwt.decode(ann.auth.get_session().access_token, options={"verify_signature": False})
        soon = supabase.signing.sign({**claims, "exp": int(time.time()) + 2})
        topics = [a_topic(), a_topic()]
        async with bare(supabase) as socket:
            for topic in topics:
                assert (await socket.join(topic, soon, private=True))["status"] == "ok"
            await socket.push(
                f"realtime:{topics[1]}", "access_token", {"access_token": ann.auth.get_session().access_token}
            )
            told = await socket.next("system")
            closed = await socket.next("phx_close")
            assert told["topic"] == closed["topic"] == f"realtime:{topics[0]}"
            await in_thread(send, supabase, topics[1], "still here", {})
            return told["payload"]["message"], (await socket.next("broadcast"))["payload"]["event"]

    message, event = asyncio.run(outlive())

    assert message.startswith("Token has expired")
    assert event == "still here"


def test_a_token_of_somebody_who_may_not_ends_the_channel(supabase):
    async def swap() -> dict[str, Any]:
        ann, bob = await in_thread(supabase.person), await in_thread(supabase.person)
        own = f"own:{ann.auth.get_user().user.id}"
        async with bare(supabase) as socket:
            await socket.join(own, ann.auth.get_session().access_token, private=True)
            token = bob.auth.get_session().access_token
            await socket.push(f"realtime:{own}", "access_token", {"access_token": token})
            told = await socket.next("system")
            await socket.next("phx_close")
            return told["payload"]

    told = asyncio.run(swap())

    assert told["status"] == "error"
    assert told["message"].startswith("Unauthorized")


@pytest.mark.parametrize("key", ["", "sb_publishable_wrong"])
def test_a_socket_without_a_right_key_is_not_opened(supabase, key):
    async def open_it() -> None:
        async with bare(supabase, key=key):
            pass

    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(open_it())
    assert refused.value.response.status_code == 403


# -- from clients --------------------------------------------------------------------------------


def test_a_client_is_heard_by_the_others_and_by_itself_if_it_asks(supabase):
    topic = a_topic()

    async def speak() -> list[Any]:
        async with supabase.person_async() as ann, supabase.person_async() as bob:
            loud, heard_by_ann = await joined(ann, topic, echo=True, ack=True)
            quiet, heard_by_bob = await joined(bob, topic)
            await quiet.send_broadcast("first", {"n": 1})
            await loud.send_broadcast("second", {"n": 2})
            return [await heard_by_ann.next(), await heard_by_ann.next(), await heard_by_bob.next()]

    ann_1, ann_2, bob_1 = asyncio.run(speak())

    assert (ann_1["event"], ann_1["payload"]) == ("first", {"n": 1})
    assert (ann_2["event"], bob_1["event"]) == ("second", "second")


def test_http_speaks_into_topics(supabase):
    topic = a_topic()

    async def speak() -> list[Any]:
        async with supabase.person_async() as ann:
            channel, heard = await joined(ann, topic)
            await channel.http_send("one", {"n": 1})

            def batch() -> int:
                with supabase.http(apikey=supabase.secret_key) as http:
                    message = {"topic": topic, "event": "two", "payload": {"n": 2}, "private": True}
                    return http.post("/realtime/v1/api/broadcast", json={"messages": [message]}).status_code

            assert await in_thread(batch) == 202
            with supabase.http() as http:  # anonymous: not heard in a private topic
                message = {"topic": topic, "event": "forged", "payload": {}, "private": True}
                assert http.post("/realtime/v1/api/broadcast", json={"messages": [message]}).status_code == 202
                alone = http.post(f"/realtime/v1/api/broadcast/{topic}/events/forged?private=true", json={})
                assert alone.status_code == 403
                assert http.post("/realtime/v1/api/broadcast", json={"messages": [{}]}).status_code == 422
                assert http.post(f"/realtime/v1/api/broadcast/{topic}/events/x", content=b"{").status_code == 415
            await in_thread(send, supabase, topic, "three", {})
            return [(await heard.next())["event"] for _ in range(3)]

    assert asyncio.run(speak()) == ["one", "two", "three"]


def test_both_versions_hear_each_other_in_text_and_in_binary(supabase):
    topic = a_topic("any")
    wire = f"realtime:{topic}".encode()

    def push(event: bytes, encoding: int, body: bytes) -> bytes:
        return bytes([3, 1, 1, len(wire), len(event), 0, encoding]) + b"11" + wire + event + body

    async def speak() -> list[Any]:
        async with bare(supabase, "1.0.0") as old, bare(supabase, "2.0.0") as new, bare(supabase, "2.0.0") as other:
            for socket in (old, new, other):
                assert (await socket.join(topic, private=False))["status"] == "ok"
            await new.socket.send(push(b"json", 1, b'{"n": 1}'))
            heard = [(await old.next("broadcast"))["payload"], (await other.next("broadcast"))["payload"]]
            await new.socket.send(push(b"bytes", 0, b"\x00\xff"))
            heard.append((await other.next("binary"))["frame"])
            await old.push(wire.decode(), "broadcast", {"type": "broadcast", "event": "text", "payload": {"n": 2}})
            heard.append((await new.next("broadcast"))["payload"])
            await new.push("phoenix", "heartbeat", {}, ref="9", join_ref=None)
            heard.append(await new.next("phx_reply"))
            return heard

    old_heard, new_heard, frame, text, beat = asyncio.run(speak())

    assert old_heard == new_heard == {"type": "broadcast", "event": "json", "payload": {"n": 1}}
    assert frame == bytes([4, len(wire), 5, 0, 0]) + wire + b"bytes" + b"\x00\xff"
    assert text == {"type": "broadcast", "event": "text", "payload": {"n": 2}}
    assert (beat["ref"], beat["topic"], beat["payload"]) == ("9", "phoenix", {"status": "ok", "response": {}})


def test_presence_tells_who_is_there(supabase):
    topic = a_topic()

    async def meet() -> tuple[list[str], list[str]]:
        async with supabase.person_async() as ann, supabase.person_async() as bob:
            changed = asyncio.Event()
            channels = []
            for client in (ann, bob):
                channel = client.channel(topic, options(presence=True))
                channel.on_presence_sync(changed.set)
                await channel.subscribe()
                await channel.track({"name": "ann" if client is ann else "bob"})
                channels.append(channel)

            async def names(count: int) -> list[str]:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        state = channels[0].presence_state()
                        found = sorted(presence["name"] for metas in state.values() for presence in metas)
                        if len(found) == count:
                            return found
                        changed.clear()
                        await changed.wait()

            both = await names(2)
            await bob.realtime.close()
            return both, await names(1)

    assert asyncio.run(meet()) == (["ann", "bob"], ["ann"])


def test_a_late_comer_may_ask_for_what_was_said(supabase):
    topic = a_topic()
    for number in range(5):
        send(supabase, topic, "n", {"n": number})

    async def catch_up() -> list[Any]:
        async with bare(supabase, key=supabase.secret_key) as socket:
            await socket.join(topic, private=True, broadcast={"replay": {"since": 0, "limit": 3}})
            return [(await socket.next("broadcast"))["payload"] for _ in range(3)]

    replayed = asyncio.run(catch_up())

    assert [message["payload"]["n"] for message in replayed] == [2, 3, 4]
    assert all(message["meta"]["replayed"] for message in replayed)


# -- what is not there, and what is too much -----------------------------------------------------


def test_postgres_changes_are_echoed_and_then_said_to_be_missing(supabase):
    async def ask() -> tuple[Any, Any]:
        async with bare(supabase) as socket:
            wanted = [{"event": "*", "schema": "public", "table": "videos", "filter": "id=eq.1"}]
            reply = await socket.join(a_topic("any"), private=False, postgres_changes=wanted)
            return reply, (await socket.next("system"))["payload"]

    reply, told = asyncio.run(ask())

    assert reply["status"] == "ok"
    assert reply["response"]["postgres_changes"] == [
        {"id": 1, "event": "*", "schema": "public", "table": "videos", "filter": "id=eq.1"}
    ]
    assert (told["extension"], told["status"]) == ("postgres_changes", "error")
    assert "broadcast_changes" in told["message"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 1007),
        ("[]", 1007),
        ('{"topic": 1}', 1007),
        ('{"topic": "\\ud800", "event": "phx_join", "payload": {}}', 1007),
        (b"\x03", 1007),
        ("x" * (2**20 + 1), 1009),
        ("x" * 2**22, 1009),
    ],
)
def test_what_is_not_the_protocol_closes_the_socket(supabase, frame, code):
    async def offend() -> int | None:
        async with bare(supabase) as socket:
            await socket.socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.socket.recv(), PATIENCE_S)
            return closed.value.rcvd.code if closed.value.rcvd else None

    assert asyncio.run(offend()) == code


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("realtime:", {}),
        ("lobby", {}),
        ("realtime:x", {"config": 7}),
        ("realtime:x", {"config": {"presence": {"key": "k" * 300}}}),
        ("realtime:a\0b", {"config": {"private": True}}),
    ],
)
def test_a_malformed_join_is_refused_with_a_reason(supabase, topic, payload):
    async def join() -> dict[str, Any]:
        async with bare(supabase, key=supabase.secret_key) as socket:
            await socket.push(topic, "phx_join", payload)
            return (await socket.next("phx_reply"))["payload"]

    reply = asyncio.run(join())

    assert reply["status"] == "error"
    assert reply["response"]["reason"]


def test_who_does_not_read_is_dropped_and_the_others_hear_everything(supabase):
    topic, body, count = a_topic("any"), json.dumps({"x": "x" * 900_000}), 40

    async def flood() -> int:
        async with bare(supabase, max_queue=1, compression=None) as lazy, bare(supabase) as eager:
            for socket in (lazy, eager):
                assert (await socket.join(topic, private=False))["status"] == "ok"

            def say() -> None:
                headers = {"Content-Type": "application/json"}
                with supabase.http(**headers) as http:
                    for _ in range(count):
                        answer = http.post(f"/realtime/v1/api/broadcast/{topic}/events/x", content=body)
                        assert answer.status_code == 202

            speaking = asyncio.create_task(in_thread(say))
            for _ in range(count):
                await eager.next("broadcast")
            await speaking
            heard: list[Any] = []
            with pytest.raises(ConnectionClosed):  # with a reason, if that could still be sent
                await asyncio.wait_for(lazy.everything(heard), PATIENCE_S)
            return len(heard)

    assert asyncio.run(flood()) < count
