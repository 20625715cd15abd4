"""The stack as a value: ports, addresses, and who is told what."""

import shutil
import socket

import pytest
from pydantic import SecretStr

from argus_ray.errors import ConfigurationError
from argus_ray.local import cluster, keys, ports, seaweedfs
from argus_ray.local.home import open_home
from argus_ray.local.stack import environment, fill
from argus_ray.settings import Settings

PORT = dict.fromkeys(("api", "postgres", *seaweedfs.PORTS, "supabase", *cluster.PORTS), 12345)


@pytest.fixture
def secrets(tmp_path):
    return keys.load(open_home(tmp_path))


def test_ports_stay_the_same_where_they_are_free():
    first = ports.choose(["a", "b"], {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["a"]))
        taken.listen()
        second = ports.choose(["a", "b"], first)
    assert second["b"] == first["b"]
    assert second["a"] != first["a"]


def test_a_port_whose_grpc_twin_is_taken_is_not_chosen():
    wanted = ports.choose(["a"], {}, grpc=["a"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", wanted["a"] + ports.GRPC_OFFSET))
        taken.listen()
        assert ports.choose(["a"], wanted, grpc=["a"]) != wanted


def test_no_two_names_get_one_port():
    assert len(set(ports.choose(map(str, range(50)), {}).values())) == 50


def test_what_is_given_is_kept_and_what_is_not_points_at_what_is_started(secrets):
    given = Settings(
        database_url=SecretStr("postgresql://owner:a%20b@db.example:5433/prod?sslmode=require"),
        s3_endpoint="http://s3.example",
    )
    settings = fill(given, secrets, PORT)

    assert settings.secret("database_url") == given.secret("database_url")
    assert settings.secret("api_database_url") == (
        f"postgresql://argus_api:{secrets.api_password}@db.example:5433/prod?sslmode=require"
    )
    assert (settings.s3_endpoint, settings.s3_access_key) == ("http://s3.example", None)
    assert settings.supabase_url == settings.public_url == settings.ray_dashboard_url == "http://127.0.0.1:12345"
    assert settings.secret("secret_key") == secrets.secret_key


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"supabase_url": "https://x.supabase.co"}, "ARGUS_PUBLISHABLE_KEY and ARGUS_SECRET_KEY"),
        ({"ray_address": "head:6379"}, "ARGUS_RAY_DASHBOARD_URL"),
    ],
)
def test_an_address_without_what_belongs_to_it_is_named(secrets, given, missing):
    with pytest.raises(ConfigurationError, match=missing):
        fill(Settings(**given), secrets, PORT)


def test_the_environment_carries_every_setting_but_the_owners_connection(secrets, monkeypatch):
    settings = fill(Settings(cors_origins=["http://a", "http://b"], linger_s=1.5), secrets, PORT)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings.model_copy(update={"database_url": None})


def test_a_home_with_a_long_path_has_its_ray_sockets_elsewhere_in_a_closed_folder(tmp_path):
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    folder = cluster.session_folder(deep)
    assert len(f"{folder}") + cluster.LONGEST_SESSION_SOCKET <= cluster.LONGEST_SOCKET_PATH
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    folder.parent.rmdir()


def test_of_earlier_sessions_of_ray_the_last_two_are_kept_without_their_sockets(tmp_path):
    sessions = cluster.session_folder(open_home(tmp_path))
    names = [f"session_2026-11-2{day}_10-00-00_000000_1" for day in range(4)]
    for name in names:
        (sessions / name / "sockets").mkdir(parents=True)
        (sessions / name / "logs").mkdir()

    cluster.clear_sessions(tmp_path)

    assert sorted(path.name for path in sessions.iterdir()) == names[-2:]
    assert not list(sessions.glob("*/sockets"))
    assert len(list(sessions.glob("*/logs"))) == 2
    shutil.rmtree(sessions.parent)
