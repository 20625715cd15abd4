"""A hub on this machine, as far as fetching a model needs one: what it lists, what it asks for, and how it may fail.

It speaks as the Hugging Face hub does, so that `huggingface_hub` is the other side of it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

COMMIT = "5f3c1d2e4b6a79880716253443526170f1e2d3c4"
TOKEN = "hf_of_who_accepted"
OTHER_TOKEN = "hf_of_who_did_not"


@dataclass
class FakeHub:
    """`breaks` says after how many bytes a file's transfer is cut off, once, and fails until `heal`; `lies` are files sent
    with a wrong byte. `asked` are the requests for files, with the byte they began at.
    """

    folder: Path
    repo: str = "facebook/sam3"
    gated: bool = True
    breaks: dict[str, int] = field(default_factory=dict)
    lies: set[str] = field(default_factory=set)
    asked: list[tuple[str, int]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, _a: type[BaseException] | None, _b: BaseException | None, _c: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        self.breaks.clear()
        self.broken.clear()

    def listing(self) -> dict[str, Any]:
        files = []
        for path in sorted(self.folder.iterdir()):
            data = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            large = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
            is_large = path.suffix == ".safetensors"
            files.append(
                {"rfilename": path.name, "size": len(data), "blobId": blob, **({"lfs": large} if is_large else {})}
            )
        files.append({"rfilename": "sam3.pt", "size": 10**10, "blobId": "0" * 40})  # what nobody needs
        return {
            "id": self.repo,
            "sha": COMMIT,
            "gated": "manual" if self.gated else False,
            "siblings": files,
            "cardData": {
                "license": "other",
                "license_name": "sam-license",
                "license_link": "https://example.org/LICENSE",
            },
        }


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, hub = urlsplit(self.path).path, self.hub
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in {"", TOKEN, OTHER_TOKEN}:
            return self._refuse(401, message="Invalid credentials in Authorization header")
        if path in {f"/api/models/{hub.repo}", f"/api/models/{hub.repo}/revision/{COMMIT}"}:
            return self._send(200, json.dumps(hub.listing()).encode(), {"Content-Type": "application/json"})
        if path.startswith(f"/api/models/{hub.repo}/revision/"):
            return self._refuse(404, code="RevisionNotFound")
        if not path.startswith(f"/{hub.repo}/resolve/{COMMIT}/"):
            return self._refuse(404, code="RepoNotFound")
        if hub.gated and token != TOKEN:
            return self._refuse(403 if token else 401, code="GatedRepo")
        return self._file(path.rpartition("/")[2], with_body=with_body)

    def _file(self, name: str, *, with_body: bool) -> None:
        hub = self.hub
        data = (hub.folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in hub.lies:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if not with_body:
            return self._send(200, b"", headers | {"Content-Length": str(len(data))})
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        hub.asked.append((name, start))
        if name in hub.broken:
            return self._refuse(500)
        rest = data[start:]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if name in hub.breaks:
            hub.broken.add(name)
            self._send(200, rest[: hub.breaks[name]], headers | {"Content-Length": str(len(rest))})
            self.close_connection = True
            return None
        return self._send(206 if start else 200, rest, headers)

    def _refuse(self, status: int, *, code: str = "", message: str = "") -> None:
        told = {name: it for name, it in (("X-Error-Code", code), ("X-Error-Message", message)) if it}
        self._send(status, b"{}", told)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
