"""The home: whose it is, who holds it, and that no file in it is taken for the truth."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from argus_ray.errors import ConfigurationError, Conflict
from argus_ray.local import keys, state, supervisor
from argus_ray.local.home import holder, locked, open_home, read_json, write_json
from argus_ray.local.process import Identity

HOLD = "import sys,pathlib; from argus_ray.local.home import locked\nwith locked(pathlib.Path(sys.argv[1])): print(1, flush=True); input()"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def home(tmp_path):
    return open_home(tmp_path / "home")


@pytest.fixture
def another_holder(home):
    """A process that holds the home."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "1\n"
        yield child
        child.kill()


def silent(part, what):
    pass


def test_a_home_that_others_may_read_is_closed_to_them(tmp_path):
    tmp_path.chmod(0o775)
    assert open_home(tmp_path).stat().st_mode & 0o777 == 0o700


@as_root
def test_a_home_of_another_user_is_refused(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to uid 65534"):
        open_home(tmp_path)


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_home(tmp_path / "file")


def test_a_second_starter_is_told_who_runs(home, another_holder):
    with pytest.raises(Conflict, match=f"as process {another_holder.pid} since .*argus down"), locked(home):
        pass


def test_the_lock_of_a_killed_process_is_free_and_its_name_forgotten(home, another_holder):
    assert holder(home).pid == another_holder.pid
    another_holder.kill()
    another_holder.wait()
    assert holder(home) is None
    with locked(home):
        assert holder(home).pid == os.getpid()


def test_files_that_name_a_foreign_process_never_cause_it_to_be_killed(home):
    with subprocess.Popen(["/bin/sleep", "60"]) as foreign:
        named = {"pid": foreign.pid, "started": psutil.Process(foreign.pid).create_time(), "executable": "/bin/sleep"}
        write_json(home / "run" / "lock", named)
        state.write(home, state.State(processes=[state.RunningProcess(name="postgres", pid=foreign.pid)]))

        assert not supervisor.stop(home, silent)
        with locked(home):
            supervisor.end_leftovers(keys.load(home).stack_id, silent)

        assert foreign.poll() is None
        foreign.kill()


def test_what_an_earlier_start_left_behind_is_ended_whatever_became_of_its_environment(home):
    script = "import subprocess; child = subprocess.Popen(['/bin/sleep', '60'], env={}); print(child.pid, flush=True); input()"
    env = os.environ | {"ARGUS_STACK_ID": keys.load(home).stack_id}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as left:
        below = psutil.Process(int(left.stdout.readline()))

        assert supervisor.stop(home, silent)

        left.wait(10)
        assert not below.is_running() or below.status() == psutil.STATUS_ZOMBIE


def test_a_pid_that_is_used_again_is_another_process():
    me = Identity.of(os.getpid())
    assert me.alive()
    assert not Identity(me.pid, me.started - 60, me.executable).alive()
    assert not Identity(me.pid, me.started, "/bin/false").alive()


def test_a_damaged_file_says_nothing(home):
    (home / "run" / "state.json").write_text('{"api_url": ')
    assert read_json(home / "run" / "state.json") == {}
    assert not state.read(home).ready


def test_keys_are_made_once_and_only_their_owner_reads_them(home):
    first = keys.load(home)
    (home / "keys" / "secret_key").chmod(0o644)

    assert keys.load(home) == first
    assert {file.stat().st_mode & 0o777 for file in (home / "keys").iterdir()} == {0o600}
    assert first.secret_key not in repr(first)


@as_root
def test_a_key_that_another_user_has_put_there_is_refused(home):
    keys.load(home)
    os.chown(home / "keys" / "ray_token", 65534, 65534)
    with pytest.raises(ConfigurationError, match="ray_token belongs to uid 65534"):
        keys.load(home)


def test_looking_who_runs_does_not_keep_anybody_from_starting(home):
    deadline = time.monotonic() + 0.5
    look = "import sys,pathlib\nfrom argus_ray.local.home import holder\nwhile True: holder(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", look, home]) as looking:
        while time.monotonic() < deadline:
            with locked(home):
                pass
        looking.kill()
