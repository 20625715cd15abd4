"""People for tests: an issuer with real keys behind a real address, and the API on a real port."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class TestIssuer:
    """Publishes its keys at `<url>/auth/v1/.well-known/jwks.json`, as Supabase Auth does, and signs tokens with them."""

    __test__ = False

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"ec": ec.generate_private_key(ec.SECP256R1())}
        self.published = ["ec"]
        self.fetches = 0
        self.down = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                body = b"" if issuer.down else json.dumps({"keys": [issuer.jwk(k) for k in issuer.published]}).encode()
                self.send_response(500 if issuer.down else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.issuer = self.url + "/auth/v1"
        self.jwks_url = self.issuer + "/.well-known/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, kid: str, *, kind: str = "ec", publish: bool = True) -> None:
        self.keys[kid] = (
            ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        )
        if publish:
            self.published.append(kid)

    def jwk(self, kid: str) -> dict[str, Any]:
        key = self.keys[kid]
        algorithm, name = (
            (ECAlgorithm, "ES256") if isinstance(key, ec.EllipticCurvePrivateKey) else (RSAAlgorithm, "RS256")
        )
        return {
            **json.loads(algorithm.to_jwk(key.public_key())),
            "kid": kid,
            "alg": name,
            "use": "sig",
            "key_ops": ["verify"],
        }

    def claims(self, email: str, **changes: Any) -> dict[str, Any]:
        """What Supabase Auth says of a person. The same e-mail is the same person."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "authenticated",
            "sub": str(person_id(email)),
            "role": "authenticated",
            "email": email,
            "iat": now,
            "exp": now + 3600,
            "is_anonymous": False,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, email: str, *, kid: str = "ec", **changes: Any) -> str:
        return self.signed(self.claims(email, **changes), kid)

    def signed(self, claims: dict[str, Any], kid: str = "ec") -> str:
        """Any claims, with a signature that holds."""
        algorithm = "ES256" if isinstance(self.keys[kid], ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(claims, self.keys[kid], algorithm, headers={"kid": kid})


def person_id(email: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(email.encode()).digest()[:16], version=4)


def raw_token(header: dict[str, Any], claims: Any, signature: bytes = b"") -> str:
    """A token as a forger makes it, part by part."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The app on a free port of this machine, its lifespan included; the URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the app did not start: see its log")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
