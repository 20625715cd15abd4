"""Frames of both versions of the channel protocol, without a socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.local.supabase import protocol
from argus_ray.local.supabase.protocol import Message, ProtocolError

names = st.text(st.characters(codec="utf-8"), max_size=60)
payloads = st.dictionaries(names, st.none() | st.booleans() | st.integers() | names, max_size=5)


@given(names, names, payloads, st.none() | names, st.none() | names)
def test_a_message_means_the_same_in_both_versions(topic, event, payload, ref, join_ref):
    said = Message(topic, event, payload, ref, join_ref)
    as_object = json.dumps({"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref})
    as_array = json.dumps([join_ref, ref, topic, event, payload])

    assert protocol.decode("1.0.0", as_object) == protocol.decode("2.0.0", as_array) == said


@given(names, names, st.binary(max_size=200), st.none() | payloads)
def test_bytes_go_out_in_a_frame_that_says_how_long_its_parts_are(topic, event, body, meta):
    payload = {"type": "broadcast", "event": event, "payload": body, **({"meta": meta} if meta else {})}

    frame = protocol.encode("2.0.0", Message(topic, "broadcast", payload))

    assert isinstance(frame, bytes)
    assert frame[0] == 4
    topic_size, event_size, meta_size, encoding = frame[1:5]
    assert encoding == 0
    parts = frame[5:]
    assert parts[:topic_size].decode() == topic
    assert parts[topic_size:][:event_size].decode() == event
    assert parts[topic_size + event_size + meta_size :] == body


def test_bytes_are_not_said_in_the_first_version():
    payload = {"type": "broadcast", "event": "x", "payload": b"\0"}

    assert protocol.encode("1.0.0", Message("realtime:x", "broadcast", payload)) is None


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_decoder(frame):
    try:
        message = protocol.decode("2.0.0", frame)
    except ProtocolError:
        return
    assert message.event == "broadcast"


@given(
    st.recursive(
        st.none() | st.integers() | names, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(names, inner)
    )
)
def test_no_json_crashes_the_decoder(value):
    for vsn in ("1.0.0", "2.0.0"):
        try:
            protocol.decode(vsn, json.dumps(value))
        except ProtocolError:
            continue


@pytest.mark.parametrize("given_version", ["", "0.9.0", "3.0.0", "1", "1.0.0.0", "x"][1:])
def test_an_unknown_version_is_refused(given_version):
    with pytest.raises(ProtocolError):
        protocol.version(given_version)


def test_the_first_version_is_spoken_to_who_names_none():
    assert protocol.version(None) == protocol.version("1.0.0") == "1.0.0"
    assert protocol.version("2.0.0") == "2.0.0"
