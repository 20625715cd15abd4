"""A video is read where it lies: whole or by ranges, always the same bytes, or an error that says what to do."""

import random
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from argus_ray.errors import SourceChanged, SourceGone, Unavailable
from argus_ray.video import source
from argus_ray.video.source import BLOCK_BYTES, RangeReader, download, moves_fewer_bytes_by_ranges, open_source
from tests.clips import make, numbered, read_number

FILE = random.Random(7).randbytes(3 * BLOCK_BYTES + 12_345)


@dataclass
class Store:
    """An object store with one object, and with the ways in which stores go wrong."""

    content: bytes
    etag: str | None = '"first"'
    takes_ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests, before good ones come."""
    good_requests: int | None = None
    """After so many the link has expired."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of body the next answers break off."""
    most_bytes: int | None = None
    """The most that one answer holds, though more was asked for."""
    content_range: str | None = None
    """A lie."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    url: str = ""

    def ranges(self):
        return [asked for asked, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        store = self.server.store
        asked, expected = self.headers.get("Range"), self.headers.get("If-Match")
        store.asked.append((asked, expected))
        store.connections.add(self.client_address[1])
        if store.good_requests is not None and len(store.asked) > store.good_requests:
            return self.answer(403, b"<Error/>")
        if store.statuses:
            return self.answer(store.statuses.pop(0), b"<Error/>")
        if expected and expected != store.etag:
            return self.answer(412, b"")
        size = len(store.content)
        first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()
        first, last = int(first), min(int(last or size), size - 1)
        if not store.takes_ranges:
            return self.answer(200, store.content)
        if first >= size:
            return self.answer(416, b"", f"bytes */{size}")
        if store.most_bytes:
            last = min(last, first + store.most_bytes - 1)
        return self.answer(206, store.content[first : last + 1], store.content_range or f"bytes {first}-{last}/{size}")

    def answer(self, status, body, content_range=None):
        store = self.server.store
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        if store.etag and status < 300:
            self.send_header("ETag", store.etag)
        self.end_headers()
        cut = store.cuts.pop(0) if store.cuts and status < 300 else len(body)
        try:
            self.wfile.write(body[:cut])
        except ConnectionError:
            self.close_connection = True  # the reader has seen enough
        if cut < len(body):
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A connection that the reader drops is its right."""


@contextmanager
def serving(content=FILE, **ways):
    store = Store(content, **ways)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.store = store
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        store.url = f"http://127.0.0.1:{server.server_port}/argus/videos/1?X-Amz-Signature=s3cret"
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(source, "_BACKOFF_S", 0.001)


def noisy():
    """Numbers under noise, so that a group of pictures is larger than a block."""
    noise = np.random.default_rng(0)

    def picture(number, _):
        drawn = numbered(number, (192, 128)).astype(np.int16)
        return np.clip(drawn + noise.integers(-20, 20, drawn.shape), 0, 255).astype(np.uint8)

    return {"size": (192, 128), "codec_options": {"crf": "8"}, "picture": picture}


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """3 MB with its index in front."""
    path = tmp_path_factory.mktemp("movie") / "movie.mp4"
    return make(path, seconds=6, gop=30, container_options={"movflags": "faststart"}, **noisy())


# -- reading by ranges ---------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [None, len(FILE)])
def test_random_reads_give_the_same_bytes_as_the_file(size_bytes, tmp_path):
    chance = random.Random(3)
    with serving() as store, RangeReader(store.url, size_bytes=size_bytes, scratch=tmp_path) as reader:
        for _ in range(200):
            start, count = chance.randrange(len(FILE) + 100), chance.choice([1, 100, 32_768, 300_000])
            assert reader.seek(start) == start
            assert reader.read(count) == FILE[start : start + count]
        assert reader.seek(-10, 2) == len(FILE) - 10
        assert reader.read() == FILE[-10:]
        assert reader.read(5) == b""

        assert reader.bytes_fetched == len(FILE)  # each block once
        assert reader.requests == len(store.asked) <= 4
        assert len(store.connections) == 1


def test_a_missing_run_is_one_request_and_sequential_reading_asks_for_two_blocks_at_a_time():
    content = bytes(40 * BLOCK_BYTES)
    with serving(content) as store, RangeReader(store.url, size_bytes=len(content)) as reader:
        while reader.read(32_768):
            pass

        blocks = [
            (int(last) + 1 - int(first)) // BLOCK_BYTES
            for first, last in (re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups() for asked in store.ranges())
        ]
        assert set(blocks) == {2}
        assert reader.bytes_fetched == len(content)


def test_the_cache_on_disk_is_bounded_and_evicted_blocks_are_read_again(monkeypatch):
    monkeypatch.setattr(source, "_CACHE_BLOCKS", 2)
    with serving() as store, RangeReader(store.url, size_bytes=len(FILE)) as reader:
        for start in (0, BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES, 10):
            reader.seek(start)
            assert reader.read(1000) == FILE[start : start + 1000]
        assert reader._file.seek(0, 2) <= 2 * BLOCK_BYTES
        assert reader.bytes_fetched > len(FILE)


def test_a_sparse_decode_moves_a_part_of_the_file(movie):
    content = movie.path.read_bytes()
    with serving(content) as store, RangeReader(store.url, size_bytes=len(content)) as reader:
        with av.open(reader) as container:
            stream = container.streams.video[0]
            container.seek(round(4.8 / stream.time_base), stream=stream)
            frame = next(container.decode(stream))
        assert read_number(frame.to_ndarray(format="rgb24")) == 120
        assert reader.bytes_fetched < 0.6 * len(content)


def test_a_whole_decode_by_ranges_equals_the_local_one(movie):
    content = movie.path.read_bytes()
    with serving(content) as store, RangeReader(store.url) as reader, av.open(reader) as container:
        numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert numbers == list(range(150))


def test_an_empty_object_reads_as_empty():
    with serving(b"") as store:
        with RangeReader(store.url) as reader:
            assert reader.read(10) == b""
        with RangeReader(store.url, size_bytes=0) as reader:
            assert reader.read(10) == b""


# -- what goes wrong -----------------------------------------------------------------------------


def test_transient_failures_are_tried_again_and_cost_nothing(tmp_path):
    with serving(statuses=[503, 500], cuts=[1000, 70_000]) as store:
        with RangeReader(store.url, size_bytes=len(FILE)) as reader:
            assert reader.read(len(FILE)) == FILE
        store.statuses, store.cuts = [502], [1000, 300_000]
        assert download(store.url, tmp_path / "file") == len(FILE)
        assert (tmp_path / "file").read_bytes() == FILE
        assert store.ranges()[-1] == "bytes=301000-"  # it went on where it was


def test_lasting_failures_end_after_a_bounded_number_of_attempts():
    with serving(statuses=[503] * 100) as store:
        with pytest.raises(Unavailable, match=r"6 attempts.*HTTP 503"):
            RangeReader(store.url)
        assert len(store.asked) == 6
    with pytest.raises(Unavailable, match="is the object store up"):
        RangeReader(store.url)  # nobody listens there any more


@pytest.mark.parametrize(("status", "words"), [(403, "expired"), (404, "not there any more"), (410, "not there")])
def test_a_refusal_says_expired_or_gone_and_not_the_signature(status, words):
    with serving(statuses=[status]) as store, pytest.raises(SourceGone, match=words) as gone:
        RangeReader(store.url)
    assert "s3cret" not in str(gone.value)
    assert len(store.asked) == 1


def test_an_object_that_is_replaced_while_it_is_read_is_noticed_by_its_etag():
    with serving() as store, RangeReader(store.url, size_bytes=len(FILE)) as reader:
        reader.read(10)
        store.etag, store.content = '"second"', FILE[::-1]
        reader.seek(-10, 2)
        with pytest.raises(SourceChanged, match="not the one that was there before"):
            reader.read(10)
        assert store.asked[-1][1] == '"first"'


def test_an_object_that_is_replaced_is_noticed_where_the_store_ignores_if_match():
    with serving(etag='W/"first"') as store, RangeReader(store.url, size_bytes=len(FILE)) as reader:
        reader.read(10)
        store.etag = 'W/"second"'
        reader.seek(-10, 2)
        with pytest.raises(SourceChanged, match="ETag"):
            reader.read(10)


def test_an_object_of_another_size_than_expected_is_refused(tmp_path):
    with serving() as store:
        with (
            RangeReader(store.url, size_bytes=len(FILE) + 1) as reader,
            pytest.raises(SourceChanged, match="bytes instead of"),
        ):
            reader.read(1)
        with pytest.raises(SourceChanged, match="bytes instead of"):
            download(store.url, tmp_path / "file", size_bytes=len(FILE) - 1)


@pytest.mark.parametrize("size_bytes", [None, len(FILE)])
def test_a_server_that_knows_no_ranges_is_read_whole_once(size_bytes):
    with serving(takes_ranges=False) as store, RangeReader(store.url, size_bytes=size_bytes) as reader:
        reader.seek(2 * BLOCK_BYTES + 5)
        assert reader.read(1000) == FILE[2 * BLOCK_BYTES + 5 :][:1000]
        reader.seek(0)
        assert reader.read(len(FILE)) == FILE
        assert len(store.asked) == 2


def test_a_download_from_a_server_that_knows_no_ranges_goes_on_after_a_cut(tmp_path):
    with serving(takes_ranges=False, cuts=[400_000]) as store:
        assert download(store.url, tmp_path / "file") == len(FILE)
    assert (tmp_path / "file").read_bytes() == FILE


def test_an_answer_shorter_than_asked_for_is_completed():
    with serving(most_bytes=100_000) as store, RangeReader(store.url, size_bytes=len(FILE)) as reader:
        assert reader.read(len(FILE)) == FILE


@pytest.mark.parametrize("lie", ["bytes 7-262150/798777", "items 0-9/10", "bytes 0-9/*x", "bytes */798777"])
def test_an_answer_with_another_range_is_refused(lie):
    with serving(content_range=lie) as store, pytest.raises(Unavailable, match="does not behave like an object store"):
        RangeReader(store.url)


def test_a_failure_that_ffmpeg_takes_for_the_end_of_the_file_is_raised_on_leaving(tmp_path):
    content = make(tmp_path / "movie.mkv", seconds=2, **noisy()).path.read_bytes()

    def salvage(store):
        with open_source(store.url) as file, av.open(file) as container:
            packets = container.demux(video=0)
            next(packets)
            store.statuses = [403] * 100
            with suppress(Exception):  # as one does with a damaged file
                list(packets)

    with serving(content) as store, pytest.raises(SourceGone, match="expired"):
        salvage(store)


# -- whole or by ranges --------------------------------------------------------------------------


def test_small_files_and_greedy_plans_are_fetched_whole(movie, tmp_path):
    assert not moves_fewer_bytes_by_ranges(2**20, share=0.01)
    assert not moves_fewer_bytes_by_ranges(2**30, share=0.9)
    assert moves_fewer_bytes_by_ranges(2**30, share=0.1)

    content = movie.path.read_bytes()
    with serving(content) as store:
        with open_source(store.url, size_bytes=len(content), scratch=tmp_path) as file:
            assert Path(file).read_bytes() == content
        assert store.ranges() == ["bytes=0-"]
    assert not list(tmp_path.iterdir())


def test_a_local_file_is_opened_by_its_path(movie, monkeypatch):
    monkeypatch.chdir(movie.path.parent)
    with open_source("movie.mp4") as file:
        assert file == str(movie.path.resolve())
    with pytest.raises(SourceGone), open_source("nothing.mp4"):
        pass
