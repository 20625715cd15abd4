"""A line to a server, as networks are: it counts what it carries, can be cut in the middle of it, and mended."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit


class Line:
    """Forwards TCP connections to the address of `url`; use `line.url` in its place. Close it at the end.

    `sent_bytes` counts what clients sent. `watch` is called with it as it grows, from the line's threads.
    """

    def __init__(self, url: str) -> None:
        far = urlsplit(url)
        self._far = (far.hostname or "", far.port or 80)
        self.sent_bytes = 0
        self.connections = 0
        self.watch: Callable[[int], None] = lambda _: None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._cut = False
        self._held = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{far.scheme}://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut(self) -> None:
        """Break every connection; new ones are accepted and broken at once."""
        self._cut = True
        self._break()

    def mend(self) -> None:
        self._cut = False

    def hold(self) -> None:
        """Carry nothing more, and break nothing: the far end seems to think."""
        self._held = True

    def is_idle(self) -> bool:
        """Whether all that was under way has arrived, or has been given up by its receiver."""
        with self._lock:
            return not self._open

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _break(self) -> None:
        with self._lock:
            ends = [*self._open]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            try:
                far = socket.create_connection(self._far)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
                self.connections += 1
            self._start(self._carry, near, far, True)
            self._start(self._carry, far, near, False)

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                if not self._held:
                    target.sendall(block)
                if counted:
                    with self._lock:
                        self.sent_bytes += len(block)
                    self.watch(self.sent_bytes)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()
