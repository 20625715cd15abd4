"""Reading: the packets of a run, from its keyframe on, and the decoder that they go to.

The container may lie about where a seek lands (some demuxers count in decoding time), so the landing is checked by the
keyframe's own time, and tried further back until it is right; packets before it never reach the decoder.

A packet that cannot be read or decoded is left out, its time noted, and reading goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from av.error import FFmpegError

from argus_ray.video.container import open_container
from argus_ray.video.index import to_us

if TYPE_CHECKING:
    from av.packet import Packet as AnyPacket
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from argus_ray.video.probe import Probe
    from argus_ray.video.segments import Run

    Packet = AnyPacket[VideoStream]

_MAX_READ_ERRORS = 100  # in a row: what is unreadable for longer is over
_SEEK_BACK_S = (0, 1, 4, 16, 64)


class Reader:
    """Packets of one stream by seeking forward, and its decoder. Errors of single packets are noted and passed over."""

    def __init__(self, file: BinaryIO, probe: Probe) -> None:
        self.file, self.probe = file, probe
        self.damaged_us: list[tuple[int, int]] = []
        self._time_base = Fraction(*probe.time_base)
        self._last_us = 0
        self._packets: Iterator[Any] = iter(())
        self._pending: Packet | None = None
        self._is_fresh, self._skips = True, False
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._opening.__exit__(None, None, None)

    def packets(self, run: Run) -> Iterator[Packet]:
        """From the run's keyframe to its last packet."""
        wanted_us = run.wanted_us
        past_us = wanted_us[-1] if wanted_us and run.stop_pts is not None else None
        for packet in self._from(run):
            if past_us is not None and packet.dts is not None and self._us(packet.dts) > past_us:
                self._pending = packet
                return
            yield packet
            if run.stop_pts is not None and packet.pts == run.stop_pts and not packet.is_discard:
                return

    def decode(self, packet: Packet) -> list[VideoFrame]:
        try:
            return list(self._stream.codec_context.decode(packet))
        except FFmpegError:
            self._note(packet)
            return []

    def flush(self) -> list[VideoFrame]:
        """What the decoder still holds; afterwards it starts at a keyframe again."""
        context = self._stream.codec_context
        try:
            return list(context.decode(None))
        except FFmpegError:
            return []
        finally:
            context.flush_buffers()

    def skip_unneeded(self, skip: bool) -> None:
        """Whether the next packet may be left out if nothing depends on it."""
        if skip != self._skips:
            self._stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skips = skip

    # -- landing on a keyframe -------------------------------------------------------------------

    def _from(self, run: Run) -> Iterator[Packet]:
        if run.seek_pts is None:
            if not self._is_fresh:
                self._reopen()
            yield from self._read()
            return
        if run.follows and (landed := self._land(run.seek_pts)):
            yield landed
            yield from self._read()
            return
        for back_s in _SEEK_BACK_S:
            target = run.seek_pts - round(back_s / self._time_base)
            if self._seek(target) and (landed := self._land(run.seek_pts)):
                yield landed
                yield from self._read()
                return
        self._reopen()
        landed = self._land(run.seek_pts)
        if landed:
            yield landed
            yield from self._read()

    def _land(self, keyframe_pts: int) -> Packet | None:
        """The keyframe, if it lies ahead; what is before it is dropped, what is after it means that it was missed."""
        for packet in self._read():
            if packet.is_keyframe and packet.pts == keyframe_pts:
                return packet
            if packet.dts is not None and packet.dts > keyframe_pts:
                return None
        return None

    def _seek(self, pts: int) -> bool:
        self._pending, self._is_fresh = None, False
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
        except FFmpegError:
            return False
        self._packets = self._container.demux(self._stream)
        return True

    def _read(self) -> Iterator[Packet]:
        errors, self._is_fresh = 0, False
        while errors < _MAX_READ_ERRORS:
            if self._pending is not None:
                packet, self._pending = self._pending, None
                yield packet
                continue
            try:
                packet = next(self._packets)
            except StopIteration:
                return
            except FFmpegError:
                errors += 1
                self._packets = self._container.demux(self._stream)
                continue
            if not packet.size:
                continue
            if errors and packet.pts is not None:
                self.damaged_us.append((self._last_us, self._us(packet.pts)))
            if packet.is_corrupt:
                self._note(packet)
            errors = 0
            self._last_us = self._us(packet.pts) if packet.pts is not None else self._last_us
            yield packet
        self.damaged_us.append((self._last_us, max(self._last_us, self.probe.video_end_us)))

    def _note(self, packet: Packet) -> None:
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            at_us = self._us(time)
            self.damaged_us.append((at_us, at_us + self.probe.step_us))

    def _us(self, pts: int) -> int:
        return to_us(pts, self._time_base, self.probe.start_us)

    def _open(self) -> None:
        self._opening = open_container(self.file)
        self._container = self._opening.__enter__()
        self._stream = next(s for s in self._container.streams.video if s.index == self.probe.stream_index)
        self._stream.codec_context.thread_count = (
            1  # one core a segment: frame threads cost memory and gain nothing there
        )
        self._packets = self._container.demux(self._stream)
        self._pending, self._is_fresh, self._skips = None, True, False

    def _reopen(self) -> None:
        self.close()
        self._open()
