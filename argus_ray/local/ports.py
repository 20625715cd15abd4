"""Free loopback ports, the same ones at every start where they are still free.

They are taken below the range that the kernel gives to outgoing connections (32768 and up on Linux), so that no
connection can sit on one between the choice and the bind. SeaweedFS opens each port + 10000 for gRPC as well: its ports
are chosen with room for that.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

from argus_ray.errors import ConfigurationError

FIRST, LAST = 12_000, 22_000
GRPC_OFFSET = 10_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a closing connection is no hindrance
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def choose(names: Iterable[str], preferred: dict[str, int], *, grpc: Iterable[str] = ()) -> dict[str, int]:
    """A port for each name: the preferred one where it is free, else a random free one. No two are alike.

    `grpc` names those that need port + 10000 too.
    """
    with_grpc = set(grpc)
    chosen: dict[str, int] = {}

    def usable(name: str, port: int) -> bool:
        wanted = {port, port + GRPC_OFFSET} if name in with_grpc else {port}
        return port not in chosen.values() and all(map(is_free, wanted))

    for name in names:
        candidates = [preferred[name]] if name in preferred else []
        candidates += random.sample(range(FIRST, LAST), 100)
        port = next((port for port in candidates if usable(name, port)), None)
        if port is None:
            raise ConfigurationError(
                f"found no free loopback port for {name} in 100 tries between {FIRST} and {LAST}: stop what holds them"
            )
        chosen[name] = port
    return chosen
