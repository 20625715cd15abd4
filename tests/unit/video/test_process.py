"""Whatever a file does to the decoder, one child dies, the reason is told, and the next file is decoded."""

import contextlib
import ctypes
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from argus_ray.errors import DecoderCrashed, DecodeTimeout, NotAVideo, VideoTooLarge
from argus_ray.video import process
from argus_ray.video.process import DecodeProcess
from tests.clips import catalogue

GENEROUS = {"timeout_s": 60, "stall_s": 60}

# -- what the child is asked to do ---------------------------------------------------------------


def count(n):
    yield from range(n)


def child_pid():
    return os.getpid()


def pictures(n, shape):
    for i in range(n):
        yield i, np.full(shape, i, np.uint8), b"jpeg" * 10_000


def noted(n, path):
    """Big items, each noted in a file when it is made."""
    for i in range(n):
        with Path(path).open("a") as file:
            file.write(f"{i}\n")
        yield bytes(2**20)


def refuse(n):
    yield from range(n)
    raise NotAVideo("this is a poem, not a video", lines=4)


def crash(n):
    yield from range(n)
    ctypes.string_at(0)


def kill_self(signal_number):
    os.kill(os.getpid(), signal_number)


def eat_memory(n_bytes):
    return len(np.ones(n_bytes, np.uint8))


def hang(n):
    yield from range(n)
    threading.Event().wait()


def pid_then_hang():
    yield os.getpid()
    while True:
        pass


def slow_but_steady():
    while True:
        threading.Event().wait(0.02)
        yield 0


def shout_and_die():
    os.write(1, b"on stdout\n")
    os.write(2, b"x" * 200_000 + b"\nthe last words\n")
    os._exit(3)


def limits():
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0]
        - int(Path("/proc/self/statm").read_text().split()[0]) * 4096,
        "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "environment": dict(os.environ),
        "status": Path("/proc/self/status").read_text(),
    }


def bug():
    return {}["nothing"]


def open_file(path):
    with av.open(path) as container:
        return container.duration


def first_picture(path):
    with av.open(path) as container:
        return next(container.decode(video=0)).width


# -- what must hold ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared():
    with DecodeProcess(2**30) as decoder:
        yield decoder


@pytest.fixture
def decoder():
    with DecodeProcess(2**30) as decoder:
        yield decoder


def test_items_come_back_in_order_from_one_warm_child(shared):
    assert list(shared.run(count, 5, **GENEROUS)) == [0, 1, 2, 3, 4]
    first = shared.call(child_pid, timeout_s=60)
    assert first == shared.call(child_pid, timeout_s=60) == shared.pid != os.getpid()


def test_big_arrays_arrive_whole_and_writable(shared):
    got = list(shared.run(pictures, 3, (4, 512, 512, 3), **GENEROUS))

    assert [i for i, _, _ in got] == [0, 1, 2]
    for i, pixels, jpeg in got:
        assert pixels.shape == (4, 512, 512, 3)
        assert (pixels == i).all()
        assert pixels.flags.writeable
        assert jpeg == b"jpeg" * 10_000


def test_the_childs_own_refusal_arrives_as_itself_after_what_came_before_and_keeps_the_child(shared):
    pid = shared.call(child_pid, timeout_s=60)
    items = shared.run(refuse, 2, **GENEROUS)
    assert [next(items), next(items)] == [0, 1]

    with pytest.raises(NotAVideo, match="a poem") as refusal:
        next(items)

    assert refusal.value.facts == {"lines": 4}
    assert shared.call(child_pid, timeout_s=60) == pid


def test_a_segfault_is_named_and_the_next_run_gets_a_fresh_child(decoder):
    before = decoder.call(child_pid, timeout_s=60)
    items = decoder.run(crash, 2, **GENEROUS)
    assert [next(items), next(items)] == [0, 1]

    with pytest.raises(DecoderCrashed, match="SIGSEGV") as crashed:
        next(items)

    assert "string_at" in crashed.value.__notes__[0]  # where in Python it was
    assert pickle.loads(pickle.dumps(crashed.value)).facts == {"signal": "SIGSEGV"}
    assert decoder.call(child_pid, timeout_s=60) != before
    assert not psutil.pid_exists(before)


def test_a_child_killed_by_the_kernel_names_memory(decoder):
    with pytest.raises(DecoderCrashed, match=r"SIGKILL.*out of memory"):
        decoder.call(kill_self, signal.SIGKILL, timeout_s=60)


def test_memory_beyond_the_limit_fails_the_video_and_not_the_parent(decoder):
    assert decoder.call(eat_memory, 2**28, timeout_s=60) == 2**28
    with pytest.raises(VideoTooLarge, match=r"1073741824 bytes.*ARGUS_DECODE_MEMORY_BYTES"):
        decoder.call(eat_memory, 2**31, timeout_s=60)
    assert decoder.call(eat_memory, 2**28, timeout_s=60) == 2**28


def test_a_small_file_that_claims_a_huge_picture_is_stopped_by_the_memory_limit(tmp_path):
    clip = catalogue()["huge_size"](tmp_path)

    with DecodeProcess(2**28) as decoder, pytest.raises(VideoTooLarge, match="ARGUS_DECODE_MEMORY_BYTES"):
        decoder.call(first_picture, str(clip.path), timeout_s=60)


def test_a_hang_is_killed_after_the_stall_limit(decoder):
    decoder.call(child_pid, timeout_s=60)
    items = decoder.run(hang, 2, timeout_s=60, stall_s=0.3)
    assert [next(items), next(items)] == [0, 1]

    with pytest.raises(DecodeTimeout, match=r"gave nothing for 0.3 s"):
        next(items)

    assert decoder.pid is None
    assert decoder.call(child_pid, timeout_s=60)


def test_a_run_that_always_moves_is_killed_after_the_total_limit(decoder):
    decoder.call(child_pid, timeout_s=60)
    with pytest.raises(DecodeTimeout, match=r"longer than 0.3 s"):
        list(decoder.run(slow_but_steady, timeout_s=0.3, stall_s=60))


def test_cpu_time_beyond_its_limit_is_a_timeout(decoder):
    with pytest.raises(DecodeTimeout, match="CPU time"):
        decoder.call(kill_self, signal.SIGXCPU, timeout_s=60)


def test_a_slow_reader_keeps_the_child_waiting_and_is_not_charged(decoder, tmp_path):
    notes = tmp_path / "made"
    items = decoder.run(noted, 20, str(notes), timeout_s=20, stall_s=20)

    next(items)
    child = psutil.Process(decoder.pid)
    while child.status() != psutil.STATUS_SLEEPING:
        pass  # until it waits in the socket
    assert len(notes.read_text().splitlines()) <= 3
    assert len(list(items)) == 19


def test_leaving_early_never_gives_a_stale_answer(decoder):
    for number in decoder.run(count, 1_000_000, **GENEROUS):
        if number == 3:
            break
    abandoned = decoder.run(count, 1_000_000, **GENEROUS)
    assert next(abandoned) == 0

    assert list(decoder.run(count, 2, **GENEROUS)) == [0, 1]
    with pytest.raises(RuntimeError, match="this run is over"):
        next(abandoned)
    assert list(decoder.run(count, 2, **GENEROUS)) == [0, 1]


def test_other_exceptions_become_a_crash_with_the_childs_trace(shared):
    with pytest.raises(DecoderCrashed, match=r"KeyError.*nothing") as crashed:
        shared.call(bug, timeout_s=60)
    assert "in bug" in crashed.value.__notes__[0]


def test_an_ffmpeg_error_is_told_by_name_with_ffmpegs_own_words(shared, tmp_path):
    with pytest.raises(DecoderCrashed, match="InvalidDataError"):
        shared.call(open_file, str(catalogue()["moov_lost"](tmp_path).path), timeout_s=60)


def test_what_the_child_writes_is_kept_in_bounds_and_off_our_stdout(decoder, capfd):
    with pytest.raises(DecoderCrashed, match=r"exit code 3.*the last words") as crashed:
        decoder.call(shout_and_die, timeout_s=60)
    assert len(crashed.value.__notes__[0]) <= 4096
    assert capfd.readouterr().out == ""


def test_the_child_is_limited_and_holds_no_secrets(shared, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("ARGUS_DATABASE_URL", "postgresql://owner:s3cret@localhost/argus")
    shared.close()

    said = shared.call(limits, timeout_s=60)

    assert said["core"] == (0, 0)
    assert 0.8 * 2**30 < said["memory"] <= 2**30
    assert 60 <= said["cpu"] < 60 * os.cpu_count() + 30
    assert "s3cret" not in str(said["environment"])
    assert "NoNewPrivs:\t1" in said["status"]


def test_a_working_child_dies_with_its_parent():
    program = (
        "import os; from argus_ray.video.process import DecodeProcess; from tests.unit.video import test_process as t;"
        "items = DecodeProcess(2**30).run(t.pid_then_hang, timeout_s=60, stall_s=60); print(next(items), flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False, timeout=60)
    assert parent.returncode == -9
    pid = int(parent.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)
    assert not psutil.pid_exists(pid)


def test_no_zombie_and_no_descriptor_is_left(decoder):
    decoder.call(child_pid, timeout_s=60)
    decoder.close()
    gc.collect()
    me = psutil.Process()
    before, children = me.num_fds(), len(me.children())

    for _ in range(3):
        decoder.call(child_pid, timeout_s=60)
        with pytest.raises(DecoderCrashed):
            decoder.call(kill_self, signal.SIGABRT, timeout_s=60)
        next(decoder.run(count, 1_000_000, **GENEROUS))
    decoder.close()

    assert me.num_fds() == before
    assert len(me.children()) == children


def test_the_child_is_renewed_after_many_runs(decoder, monkeypatch):
    monkeypatch.setattr(process, "RUNS_PER_CHILD", 3)
    pids = [decoder.call(child_pid, timeout_s=60) for _ in range(6)]
    assert len(set(pids)) == 2
    assert pids[0] == pids[2] != pids[3]
