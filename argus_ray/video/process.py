"""Decoding in a child process, since a video file is hostile input to a million lines of C.

`DecodeProcess` belongs to one extractor and keeps one child warm. The child imports the decoders, limits its own memory,
and runs one function at a time; what the function yields comes back over a socket, big arrays without a copy in pickle.
The child never decodes further ahead than the socket's buffer and the one message it is writing.

    with DecodeProcess(memory_bytes=3 * 2**30) as decoder:
        facts = decoder.call(probe, source, timeout_s=60)
        for kept in decoder.run(extract, source, facts, timeout_s=900, stall_s=120):
            ...

                 start                    request                    end
    (no child) ────────▶ warm ─────────────────────────▶ working ────────▶ warm     after RUNS_PER_CHILD: (no child)
                                                           │
                         an item took too long, it crashed, │ it ran out of memory, the caller stopped reading
                                                           ▼
                                                       (no child): killed, so that no answer can arrive late

The child is a program of its own (`python -c`), neither forked (threads of Ray and FFmpeg do not survive it) nor made by
`multiprocessing` (whose children import the parent's main module, in a Ray worker all of Ray). It dies with the thread
that started it (PR_SET_PDEATHSIG); where that thread ends and the process lives on, the next run starts another child.
Its environment holds no secrets. It contains crashes, hangs and greed, not an attacker: the child has the parent's user, and
the parent unpickles what it says.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from argus_ray.errors import ArgusError, DecoderCrashed, DecodeTimeout, VideoTooLarge

T = TypeVar("T")
log = logging.getLogger(__name__)

RUNS_PER_CHILD = 200
"""Decoders leak a little and fragment the heap: a new child costs a fifth of a second."""

_STDERR_KEPT = 4096  # bytes of what the child last wrote, kept for the reason of a crash
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # arenas eat address space


class DecodeProcess:
    """One child at a time, started when it is first needed. Not for use from several threads at once."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child, where there is one."""
        return self._child.process.pid if self._child else None

    def close(self) -> None:
        """End the child, whatever it does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def call(self, work: Callable[..., T], *args: Any, timeout_s: float) -> T:
        """What `work(*args)` returns in the child. Raises as `run`."""
        (result,) = self._messages("call", work, args, timeout_s, timeout_s)
        return result  # type: ignore[no-any-return]  # it crossed a process border

    def run(self, work: Callable[..., Iterable[T]], *args: Any, timeout_s: float, stall_s: float) -> Iterator[T]:
        """What `work(*args)` yields in the child, as it comes. `work` is a module's function, its arguments are pickled.

        Only time spent waiting for the child counts. Raises the child's own ArgusError; DecodeTimeout after `timeout_s`
        in all or `stall_s` for one item; VideoTooLarge where the memory limit is reached; DecoderCrashed when the child
        dies or `work` raises anything else. Leaving the loop early ends the child.
        """
        return self._messages("run", work, args, timeout_s, stall_s)

    def _messages(
        self,
        mode: Literal["call", "run"],
        work: Callable[..., Any],
        args: tuple[Any, ...],
        timeout_s: float,
        stall_s: float,
    ) -> Iterator[Any]:
        child = self._idle_child()
        child.working, child.runs, child.last_words = True, child.runs + 1, b""
        waited_s = 0.0
        try:
            child.ask((mode, work, args, timeout_s), timeout_s, stall_s)
            while True:
                if child is not self._child:
                    raise RuntimeError("this run is over: its process was closed, or asked for another run")
                began = time.monotonic()
                kind, value = child.answer(min(stall_s, timeout_s - waited_s), timeout_s, stall_s)
                waited_s += time.monotonic() - began
                if kind == "item":
                    yield value
                    continue
                child.working = kind == "failed"  # one that ended or refused on purpose is fit for the next run
                if kind == "end":
                    return
                raise value
        finally:
            if child.working or child.runs >= RUNS_PER_CHILD:
                child.kill()
                if self._child is child:
                    self._child = None

    def _idle_child(self) -> _Child:
        child = self._child
        if child is None or child.working or child.process.poll() is not None:
            self.close()
            child = self._child = _Child(self.memory_bytes)
        return child


class _Child:
    """The parent's end of a child: its process, the socket, and the last it wrote to stderr."""

    def __init__(self, memory_bytes: int) -> None:
        self.runs, self.working, self.last_words = 0, False, b""
        self.memory_bytes = memory_bytes
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        program = f"from argus_ray.video.process import serve; serve({theirs.fileno()}, {os.getpid()}, {memory_bytes})"
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={
                    **environment,
                    **_ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
                },
            )
        assert self.process.stderr is not None
        self.stderr = self.process.stderr
        os.set_blocking(self.stderr.fileno(), False)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stderr.close()
        self.socket.close()

    def ask(self, request: object, timeout_s: float, stall_s: float) -> None:
        until = time.monotonic() + min(timeout_s, stall_s)
        try:
            for part in _packed(request):
                view = memoryview(part)
                while view:
                    self._wait(until, writing=True)
                    view = view[self.socket.send(view) :]
        except TimeoutError:
            raise _too_slow(timeout_s, stall_s, is_stall=stall_s < timeout_s) from None
        except (BrokenPipeError, ConnectionResetError):
            raise self._obituary() from None

    def answer(self, wait_s: float, timeout_s: float, stall_s: float) -> tuple[str, Any]:
        """The next message: ("item", value), ("end", None), or with an error ("refused" on purpose, or "failed")."""
        until = time.monotonic() + wait_s
        try:
            if wait_s <= 0:
                raise TimeoutError  # noqa: TRY301 the same end as in _wait
            kind, value = _unpacked(lambda size: self._read(size, until))
        except TimeoutError:
            return "failed", _too_slow(timeout_s, stall_s, is_stall=stall_s <= wait_s and stall_s < timeout_s)
        except (EOFError, ConnectionResetError):
            return "failed", self._obituary()
        if kind == "failed":
            value = _failure(value, self.memory_bytes)
        return kind, value

    def _read(self, size: int, until: float) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            try:
                got = self.socket.recv_into(view)
            except BlockingIOError:
                self._wait(until)
                continue
            if not got:
                raise EOFError
            view = view[got:]
        return buffer

    def _wait(self, until: float, *, writing: bool = False) -> None:
        """Until the socket is ready; reads what the child says on stderr meanwhile. Raises TimeoutError."""
        poller = select.poll()
        poller.register(self.socket, select.POLLOUT if writing else select.POLLIN)
        poller.register(self.stderr, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(max(0, (until - time.monotonic()) * 1000))}
            if self.stderr.fileno() in ready and not self._hear():
                poller.unregister(self.stderr)
            if self.socket.fileno() in ready:
                return
            if time.monotonic() >= until:
                raise TimeoutError

    def _hear(self) -> bool:
        """Keep the last of what the child wrote to stderr; False at its end."""
        said = self.stderr.read(65536)
        self.last_words = (self.last_words + (said or b""))[-_STDERR_KEPT:]
        return said != b""

    def _obituary(self) -> ArgusError:
        """Why the child died, once its socket is closed."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._hear()
        words = self.last_words.decode(errors="replace").strip()
        error: ArgusError
        if code == -signal.SIGXCPU:
            error = DecodeTimeout(
                "decoding used more CPU time than its limit and was stopped: raise ARGUS_DECODE_TIMEOUT_S if the file is worth it"
            )
        elif code < 0:
            name = signal.Signals(-code).name
            memory = -code == signal.SIGKILL or any(
                word in words for word in ("MemoryError", "bad_alloc", "allocate memory")
            )
            cause = f": most likely it ran out of memory ({self.memory_bytes} bytes are allowed)" if memory else ""
            error = DecoderCrashed(
                f"the decoder was killed by {name} ({signal.strsignal(-code)}) on this file{cause}", signal=name
            )
        else:
            last = words.splitlines()[-1] if words else "it said nothing"
            error = DecoderCrashed(f"the decoder ended with exit code {code} on this file: {last}", exit_code=code)
        if words:
            log.warning("last words of decoding process %d: %s", self.process.pid, words)
            error.add_note(words)
        return error


def _too_slow(timeout_s: float, stall_s: float, *, is_stall: bool) -> DecodeTimeout:
    if is_stall:
        detail = (
            f"decoding gave nothing for {stall_s:g} s and was stopped: the file is damaged or too heavy for this machine; "
            "raise ARGUS_DECODE_STALL_S if it is worth it"
        )
    else:
        detail = f"decoding took longer than {timeout_s:g} s and was stopped: raise ARGUS_DECODE_TIMEOUT_S if the file is worth it"
    return DecodeTimeout(detail, timeout_s=timeout_s, stall_s=stall_s)


def _failure(value: tuple[str, str, str], memory_bytes: int) -> ArgusError:
    kind, detail, trace = value
    error: ArgusError
    if kind == "memory":
        error = VideoTooLarge(
            f"decoding needs more than the {memory_bytes} bytes of memory it may take: raise ARGUS_DECODE_MEMORY_BYTES if the file is worth it",
            memory_bytes=memory_bytes,
        )
    else:
        error = DecoderCrashed(f"the decoder failed on this file: {kind}: {detail}", exception=kind)
    error.add_note(trace)
    return error


# -- messages: the number of parts and their sizes, the pickle, then each big buffer as it is --------------------------


def _packed(message: object) -> list[bytes | memoryview]:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [head, *(buffer.raw() for buffer in buffers)]
    return [struct.pack(f"!I{len(parts)}Q", len(parts), *(len(part) for part in parts)), *parts]


def _unpacked(read: Callable[[int], bytearray]) -> Any:
    (count,) = struct.unpack("!I", read(4))
    sizes = struct.unpack(f"!{count}Q", read(8 * count))
    head, *buffers = [read(size) for size in sizes]
    return pickle.loads(head, buffers=buffers)  # noqa: S301 both ends are this program; see the module


# -- the child ---------------------------------------------------------------------------------------------------------


def serve(descriptor: int, parent_pid: int, memory_bytes: int) -> None:
    """The child's whole life: limit itself, then answer requests until the parent is gone."""
    _settle(parent_pid)
    _load_decoders()
    _limit_memory(memory_bytes)
    with socket.socket(fileno=descriptor) as connection:
        while True:
            try:
                mode, work, args, timeout_s = _unpacked(lambda size: _receive(connection, size))
            except EOFError:
                return
            _limit_cpu(timeout_s)
            for message in _answers(mode, work, args):
                for part in _packed(message):
                    connection.sendall(part)


def _answers(mode: str, work: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    try:
        if mode == "call":
            yield "item", work(*args)
        else:
            for item in work(*args):
                yield "item", item
        yield "end", None
    except ArgusError as error:
        yield "refused", error
    except MemoryError as error:
        yield "failed", ("memory", str(error), traceback.format_exc(limit=-5))
    except Exception as error:  # noqa: BLE001 the parent raises it again, by name
        yield "failed", (type(error).__name__, str(error), traceback.format_exc())


def _receive(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return buffer


def _settle(parent_pid: int) -> None:
    import faulthandler

    if sys.platform == "linux":
        set_parent_death_signal, set_no_new_privileges = 1, 38  # from linux/prctl.h
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
        prctl(set_no_new_privileges, 1, 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text("800")  # the kernel ends the decoder before its neighbours
    if os.getppid() != parent_pid:  # it died before the signal was asked for
        sys.exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.dup2(2, 1)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()


def _load_decoders() -> None:
    import av
    import av.logging
    import numpy as np
    import simplejpeg

    assert np, simplejpeg  # loaded now, so that no request waits for them and the memory limit counts from here
    av.logging.restore_default_callback()  # to stderr, without taking Python's lock in a decoder's thread
    av.logging.set_libav_level(av.logging.ERROR)


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "linux":
        now_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now_bytes + memory_bytes, now_bytes + memory_bytes))


def _limit_cpu(timeout_s: float) -> None:
    """Behind the parent's clock, should the parent be stuck: as much CPU as all cores give within the timeout."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit_s = int(used.ru_utime + used.ru_stime + timeout_s * (os.cpu_count() or 1)) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s if hard == resource.RLIM_INFINITY else min(limit_s, hard), hard))
