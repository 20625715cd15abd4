"""Phoenix's channel protocol as Realtime speaks it, both versions: bytes into messages and back.

vsn 1.0.0: text frames, a JSON object `{join_ref, ref, topic, event, payload}`.
vsn 2.0.0: text frames, a JSON array `[join_ref, ref, topic, event, payload]`, and binary frames for users' broadcasts:

    push (3):      kind, sizes of join_ref, ref, topic, event, metadata, encoding; those five; payload
    broadcast (4): kind, sizes of topic, event, metadata, encoding; those three; payload

Sizes and the encoding (0 binary, 1 JSON) are one byte each, so that no name is longer than 255 bytes. Metadata is JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

Vsn: TypeAlias = Literal["1.0.0", "2.0.0"]
PUSH, BROADCAST = 3, 4
BINARY, JSON = 0, 1
MAX_NAME_BYTES = 255


class ProtocolError(ValueError):
    """The frame is not one of this protocol's."""


@dataclass(frozen=True)
class Message:
    """One message of either direction. `payload` of a broadcast is `{"type", "event", "payload", "meta"?}`, where the
    inner payload is bytes when the sender sent bytes.
    """

    topic: str
    event: str
    payload: dict[str, Any]
    ref: str | None = None
    join_ref: str | None = None


def version(given: str | None) -> Vsn:
    """The version a client asks for. Raises: ProtocolError."""
    match (given or "1.0.0").split("."):
        case ["1", "0", _]:
            return "1.0.0"
        case ["2", "0", _]:
            return "2.0.0"
        case _:
            raise ProtocolError("the protocol's version is 1.0.0 or 2.0.0")


def decode(vsn: Vsn, frame: str | bytes) -> Message:
    """A client's frame as a message. Raises: ProtocolError."""
    if isinstance(frame, bytes):
        if vsn == "1.0.0":
            raise ProtocolError("version 1.0.0 has no binary frames")
        return _decode_push(frame)
    try:
        parsed = json.loads(frame)
    except ValueError as error:
        raise ProtocolError("the frame is not JSON") from error
    match vsn, parsed:
        case "1.0.0", {"topic": topic, "event": event, "payload": payload, **rest}:
            return _message(topic, event, payload, rest.get("ref"), rest.get("join_ref"))
        case "2.0.0", [join_ref, ref, topic, event, payload]:
            return _message(topic, event, payload, ref, join_ref)
        case _:
            raise ProtocolError(f"the frame has not the form of version {vsn}")


def _message(topic: Any, event: Any, payload: Any, ref: Any, join_ref: Any) -> Message:
    if not (is_name(topic) and is_name(event) and isinstance(payload, dict)):
        raise ProtocolError("topic and event are names of at most 255 bytes, the payload is an object")
    if not ((ref is None or is_name(ref)) and (join_ref is None or is_name(join_ref))):
        raise ProtocolError("ref and join_ref are strings of at most 255 bytes")
    return Message(topic, event, payload, ref, join_ref)


def is_name(value: Any) -> TypeGuard[str]:
    if not isinstance(value, str):
        return False
    try:
        return len(value.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say and nothing can store
        return False


def _decode_push(frame: bytes) -> Message:
    if len(frame) < 7 or frame[0] != PUSH:
        raise ProtocolError("a client's binary frame is a push of a broadcast")
    sizes, encoding = frame[1:6], frame[6]
    parts, position = [], 7
    for size in sizes:
        parts.append(frame[position : position + size])
        position += size
    if position > len(frame) or encoding not in {BINARY, JSON}:
        raise ProtocolError("the binary frame is cut short")
    try:
        join_ref, ref, topic, event, metadata = (part.decode() for part in parts)
        body = {"type": "broadcast", "event": event, "payload": _decode_body(encoding, frame[position:])}
        meta = json.loads(metadata) if metadata else None
    except ValueError as error:
        raise ProtocolError("the binary frame is not UTF-8 and JSON") from error
    if isinstance(meta, dict):
        body["meta"] = meta
    return Message(topic, "broadcast", body, ref or None, join_ref or None)


def _decode_body(encoding: int, body: bytes) -> Any:
    return json.loads(body) if encoding == JSON else body


def encode(vsn: Vsn, message: Message) -> str | bytes | None:
    """A message as a frame; None when this version has no way to say it (bytes, to a client of 1.0.0)."""
    binary = message.event == "broadcast" and isinstance(message.payload.get("payload"), bytes)
    if vsn == "2.0.0":
        if binary:
            return _encode_broadcast(message)
        return json.dumps([message.join_ref, message.ref, message.topic, message.event, message.payload])
    if binary:
        return None
    return json.dumps({"topic": message.topic, "event": message.event, "payload": message.payload, "ref": message.ref})


def _encode_broadcast(message: Message) -> bytes:
    meta = json.dumps(message.payload["meta"]).encode() if message.payload.get("meta") else b""
    parts = [
        message.topic.encode(),
        message.payload["event"].encode(),
        meta if len(meta) <= MAX_NAME_BYTES else b"",  # there is no way to say more
    ]
    body: bytes = message.payload["payload"]
    return bytes([BROADCAST, *map(len, parts), BINARY]) + b"".join(parts) + body
