from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from app.settings import FolderPlace, Place, S3Place, Settings, SettingsError


def _error(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    text = str(caught.value)
    assert "\n" not in text
    return text


def _file(tmp_path: Path, content: str) -> str:
    path = tmp_path / "zotshelf.toml"
    path.write_text(content)
    return str(path)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.load({})
    assert settings.place == FolderPlace("./data")
    assert (settings.host, settings.port, settings.base_path) == ("::", 8080, "/")
    assert settings.s3_dualstack
    assert settings.s3_addressing is None


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTSHELF_PORT", "8123")
    assert Settings.load().port == 8123


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTSHELF_PORT", "8123")
    assert Settings(workers=2).port == 8080


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load({}).port = 1


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        pytest.param("file:./data", FolderPlace("./data"), id="relative folder"),
        pytest.param("file:/srv/z", FolderPlace("/srv/z"), id="absolute folder"),
        pytest.param("file:///srv/z", FolderPlace("/srv/z"), id="folder as a URL"),
        pytest.param("file:/srv/{user}/z", FolderPlace("/srv/{user}/z"), id="folder of each user"),
        pytest.param("s3://my.bucket-1", S3Place("my.bucket-1", ""), id="whole bucket"),
        pytest.param("s3://bucket/", S3Place("bucket", ""), id="whole bucket with slash"),
        pytest.param("s3://bucket/a/b", S3Place("bucket", "a/b/"), id="prefix"),
        pytest.param("s3://bucket//a/b//", S3Place("bucket", "a/b/"), id="prefix with slashes around"),
        pytest.param("s3://bucket/{user}", S3Place("bucket", "{user}/"), id="prefix of each user"),
        pytest.param("s3://bucket/zot-{user}/f", S3Place("bucket", "zot-{user}/f/"), id="user in a segment"),
        pytest.param("s3://point-abc123-s3alias", S3Place("point-abc123-s3alias", ""), id="access point"),
    ],
)
def test_a_storage_is_a_folder_or_a_bucket(storage: str, place: Place) -> None:
    assert Settings.load({"ZOTSHELF_STORAGE": storage}).place == place


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("STORAGE", "/srv/data", "must be file:PATH or s3://BUCKET[/PREFIX]", id="no scheme"),
        pytest.param("STORAGE", "gs://bucket", "must be file:PATH or s3://", id="other scheme"),
        pytest.param("STORAGE", "s3:bucket", "must be file:PATH or s3://", id="s3 without slashes"),
        pytest.param("STORAGE", "file:", "must name a folder", id="no folder"),
        pytest.param("STORAGE", "file://srv/data", "absolute path", id="file URL with a host"),
        pytest.param("STORAGE", "file:/srv/{name}", "no brace but those of {user}", id="other braces"),
        pytest.param("STORAGE", "file:/srv/{user", "no brace but those of {user}", id="half a brace"),
        pytest.param("STORAGE", "s3://", "3 to 63 lower-case letters", id="no bucket"),
        pytest.param("STORAGE", "s3://ab", "3 to 63 lower-case letters", id="bucket too short"),
        pytest.param("STORAGE", "s3://" + "a" * 64, "3 to 63 lower-case letters", id="bucket too long"),
        pytest.param("STORAGE", "s3://Bucket", "3 to 63 lower-case letters", id="bucket with capitals"),
        pytest.param("STORAGE", "s3://bucket-", "3 to 63 lower-case letters", id="bucket ends in hyphen"),
        pytest.param("STORAGE", "s3://buc..ket", "no two dots", id="bucket with two dots"),
        pytest.param("STORAGE", "s3://192.0.2.1", "IPv4 address", id="bucket like an address"),
        pytest.param("STORAGE", "s3://xn--bucket", "reserves", id="reserved beginning"),
        pytest.param("STORAGE", "s3://bucket--x-s3", "reserves", id="directory bucket"),
        pytest.param("STORAGE", "s3://{user}", "3 to 63 lower-case letters", id="bucket of each user"),
        pytest.param("STORAGE", "s3://bucket/a//b", "no empty, '.' or '..' segment", id="empty segment"),
        pytest.param("STORAGE", "s3://bucket/a/../b", "no empty, '.' or '..' segment", id="dots"),
        pytest.param("STORAGE", "s3://bucket/" + "abc/" * 150, "at most 512 bytes", id="long prefix"),
        pytest.param("FOLDER_WRITES", "inplace", "must be 'atomic' or 'in-place'", id="unknown way to write"),
        pytest.param("USERS_FILE", "./data/users", "must not lie in the folder", id="users in the storage"),
        pytest.param("BASE_PATH", "dav", "must begin with '/'", id="base path without slash"),
        pytest.param("BASE_PATH", "//dav", "must begin with '/'", id="base path with two slashes"),
        pytest.param("BASE_PATH", "/a b", "segments of letters", id="base path with space"),
        pytest.param("BASE_PATH", "/a%20b", "segments of letters", id="base path with escape"),
        pytest.param("BASE_PATH", "/a/../b", "neither '-', '.' nor '..'", id="base path with dots"),
        pytest.param("BASE_PATH", "/-/x", "neither '-', '.' nor '..'", id="the server's own path"),
        pytest.param("HOST", "*", "must be an IPv6 or IPv4 address", id="star as host"),
        pytest.param("HOST", "300.1.2.3", "must be an IPv6 or IPv4 address", id="mistyped IPv4"),
        pytest.param("HOST", "http://[::1]", "must be an IPv6 or IPv4 address", id="URL as host"),
        pytest.param("PORT", "eighty", "must be a whole number from 0 to 65535", id="port in words"),
        pytest.param("PORT", "65536", "must be a whole number from 0 to 65535", id="port too high"),
        pytest.param("PORT", "80.5", "must be a whole number from 0 to 65535", id="half a port"),
        pytest.param("METRICS", "9633", "must be an address and a port such as [::1]:9633", id="no address"),
        pytest.param("METRICS", "::1:9633", "must be an address and a port", id="no brackets"),
        pytest.param("METRICS", "localhost:9633", "must be an address and a port", id="a name"),
        pytest.param("METRICS", "[::1]:99999", "must be an address and a port", id="no such port"),
        pytest.param("METRICS", "[127.0.0.1]:9633", "must be an address and a port", id="IPv4 in brackets"),
        pytest.param("METRICS", "[::1]:8080", "takes ZOTSHELF_PORT: it needs ports", id="the server's port"),
        pytest.param("WORKERS", "0", "must be a whole number from 1 to 64", id="no worker"),
        pytest.param("S3_DUALSTACK", "perhaps", "must be on or off", id="neither on nor off"),
        pytest.param("S3_ADDRESSING", "dns", "must be 'virtual', 'path' or 'auto'", id="addressing"),
        pytest.param("IMDS_IPV6", "yes", "must be 'auto', 'on' or 'off'", id="imds"),
        pytest.param("UPLOAD_PART_SIZE", "8,5MiB", "must be a size in bytes", id="size with comma"),
        pytest.param("UPLOAD_PART_SIZE", "8MiB or so", "must be a size in bytes", id="size with more"),
        pytest.param("UPLOAD_PART_SIZE", "1KiB", "from 64.0KiB to 5.0GiB", id="part too small"),
        pytest.param("UPLOAD_MEMORY", "31MiB", "four times ZOTSHELF_UPLOAD_PART_SIZE", id="little memory"),
        pytest.param("CLIENT_TIMEOUT", "0", "must be a number from 0.1", id="no time"),
        pytest.param("CLIENT_TIMEOUT", "nan", "must be a number from 0.1", id="time that is no number"),
        pytest.param("DISCARD_SIZE", "-1", "must be a size", id="negative size"),
        pytest.param("DISCARD_SECONDS", "inf", "must be a number from 0", id="endless time"),
        pytest.param("SHUTDOWN_SECONDS", "1m", "must be a whole number from 0", id="time with unit"),
        pytest.param("LOG_FORMAT", "xml", "must be 'text' or 'json'", id="log format"),
        pytest.param("LOG_LEVEL", "INFO", "must be 'debug', 'info', 'warning' or 'error'", id="level"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(name: str, value: str, expected: str) -> None:
    text = _error({f"ZOTSHELF_{name}": value})
    assert text.startswith(f"ZOTSHELF_{name} ")
    assert expected in text


def test_the_value_of_a_wrong_setting_is_not_shown() -> None:
    assert "hunter2" not in _error({"ZOTSHELF_STORAGE": "s3://AKIA:hunter2@bucket"})


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        pytest.param("ZOTSHELF_STORAG", "; did you mean ZOTSHELF_STORAGE?", id="misspelt"),
        pytest.param("ZOTSHELF_Port", "; did you mean ZOTSHELF_PORT?", id="lower case"),
        pytest.param("ZOTSHELF_UPLOADS_MEMORY", "; did you mean ZOTSHELF_UPLOAD_MEMORY?", id="plural"),
        pytest.param("ZOTSHELF_QQQQ", "", id="nothing like it"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known(variable: str, hint: str) -> None:
    assert _error({variable: "x"}) == f"{variable} is not a setting{hint}"


def test_an_empty_variable_counts_as_not_given() -> None:
    assert Settings.load({"ZOTSHELF_PORT": "", "ZOTSHELF_CONFIG": "", "ZOTSHELF_UNKNOWN": ""}).port == 8080


def test_variables_of_others_are_left_alone() -> None:
    assert Settings.load({"AWS_REGION": "eu-central-1", "PORT": "x", "PATH": "/bin"}).port == 8080


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = _file(tmp_path, 'port = 8001\nworkers = 3\nstorage = "s3://bucket/x"\ns3_dualstack = false\n')
    settings = Settings.load({"ZOTSHELF_CONFIG": config, "ZOTSHELF_PORT": "8002"})
    assert (settings.port, settings.workers, settings.s3_dualstack) == (8002, 3, False)
    assert settings.place == S3Place("bucket", "x/")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "port = 99999", "ZOTSHELF_PORT must be a whole number from 0 to 65535 (port in ", id="bound"
        ),
        pytest.param(
            "port = true", "ZOTSHELF_PORT must be a whole number from 0 to 65535 (port in ", id="truth"
        ),
        pytest.param("host = 6", "ZOTSHELF_HOST must be a text (host in ", id="number for a text"),
        pytest.param('users_file = ""', "ZOTSHELF_USERS_FILE must be the path of a file (", id="no path"),
        pytest.param("prot = 1", "'prot' in ", id="unknown key"),
        pytest.param("[zotshelf]\nport = 1", "'zotshelf' in ", id="table"),
        pytest.param('upload_memory = "1MiB"', "ZOTSHELF_UPLOAD_MEMORY must be at least four", id="together"),
        pytest.param("port: 1", "ZOTSHELF_CONFIG names ", id="not TOML"),
    ],
)
def test_a_wrong_setting_in_the_file_is_named_with_the_file(
    tmp_path: Path, content: str, expected: str
) -> None:
    config = _file(tmp_path, content)
    text = _error({"ZOTSHELF_CONFIG": config})
    assert text.startswith(expected)
    assert config in text


def test_an_unknown_key_gets_the_nearest_known(tmp_path: Path) -> None:
    assert "did you mean 'port'?" in _error({"ZOTSHELF_CONFIG": _file(tmp_path, "prot = 1")})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    text = _error({"ZOTSHELF_CONFIG": missing})
    assert text.startswith("ZOTSHELF_CONFIG names ")
    assert missing in text
    assert "No such file" in text


def test_a_right_value_in_the_environment_does_not_hide_a_wrong_key_in_the_file(tmp_path: Path) -> None:
    config = _file(tmp_path, "prot = 1")
    assert "'prot'" in _error({"ZOTSHELF_CONFIG": config, "ZOTSHELF_PORT": "1"})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        pytest.param("8388608", 8388608, id="bytes"),
        pytest.param("8MiB", 8388608, id="binary"),
        pytest.param("9 mb", 9000000, id="decimal with space"),
        pytest.param("0.5GiB", 536870912, id="fraction"),
    ],
)
def test_sizes_are_bytes_or_have_a_unit(value: str, size: int) -> None:
    environ = {"ZOTSHELF_UPLOAD_PART_SIZE": value, "ZOTSHELF_UPLOAD_MEMORY": "4GiB"}
    assert Settings.load(environ).upload_part_size == size


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("/", "/", id="root"),
        pytest.param("/dav/", "/dav", id="trailing slash"),
        pytest.param("/a/b~c_d.e", "/a/b~c_d.e", id="two segments"),
    ],
)
def test_the_base_path_is_kept_without_trailing_slash(given: str, kept: str) -> None:
    assert Settings.load({"ZOTSHELF_BASE_PATH": given}).base_path == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("[::1]", "::1", id="brackets"),
        pytest.param("0::0", "::", id="long spelling"),
        pytest.param("192.0.2.1", "192.0.2.1", id="IPv4"),
        pytest.param("localhost", "localhost", id="name"),
    ],
)
def test_a_host_is_an_address_or_a_name(given: str, kept: str) -> None:
    assert Settings.load({"ZOTSHELF_HOST": given}).host == kept


@pytest.mark.parametrize(
    ("storage", "users_file", "inside"),
    [
        pytest.param("data", "data/users", True, id="in the folder"),
        pytest.param("data", "database/users", False, id="beside a like-named folder"),
        pytest.param("data", "other/../data/users", True, id="by a detour"),
        pytest.param("data", "link/users", True, id="through a link"),
        pytest.param("link", "data/users", True, id="storage through a link"),
        pytest.param("data", "data", True, id="the folder itself"),
        pytest.param("data/{user}", "data/ann/users", True, id="in a user's folder"),
        pytest.param("data/{user}/files", "data/users", False, id="above the users' folders"),
        pytest.param("data/{user}/files", "data/ann/other", False, id="beside a user's folder"),
    ],
)
def test_the_users_file_must_not_lie_in_the_storage(
    tmp_path: Path, storage: str, users_file: str, inside: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    environ = {
        "ZOTSHELF_STORAGE": f"file:{tmp_path / storage}",
        "ZOTSHELF_USERS_FILE": f"{tmp_path}/{users_file}",
    }
    if inside:
        assert _error(environ).startswith("ZOTSHELF_USERS_FILE must not lie in the folder")
    else:
        assert Settings.load(environ).users_file.name == Path(users_file).name


def test_a_link_in_the_storage_to_a_users_file_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "users").symlink_to(tmp_path / "users.htpasswd")
    environ = {
        "ZOTSHELF_STORAGE": f"file:{tmp_path}/data",
        "ZOTSHELF_USERS_FILE": f"{tmp_path}/data/users",
    }
    assert _error(environ).startswith("ZOTSHELF_USERS_FILE must not lie in the folder")


def test_only_into_a_folder_can_files_be_written_in_place() -> None:
    assert Settings.load({}).folder_writes == "atomic"
    in_place = {"ZOTSHELF_FOLDER_WRITES": "in-place"}
    assert Settings.load(in_place).folder_writes == "in-place"
    assert _error(in_place | {"ZOTSHELF_STORAGE": "s3://bucket"}) == (
        "ZOTSHELF_FOLDER_WRITES=in-place is about a folder: it needs ZOTSHELF_STORAGE=file:PATH"
    )


def test_metrics_have_an_address_and_a_port_for_each_worker() -> None:
    assert Settings.load({}).metrics_address is None
    found = Settings.load({"ZOTSHELF_METRICS": "[::1]:9633", "ZOTSHELF_WORKERS": "3"}).metrics_address
    assert found is not None
    assert [found.at(port) for port in found.ports(3)] == ["[::1]:9633", "[::1]:9634", "[::1]:9635"]
    assert Settings(metrics="127.0.0.1:0").metrics_address == (ipaddress.ip_address("127.0.0.1"), 0)
    too_high = {"ZOTSHELF_METRICS": "[::1]:65534", "ZOTSHELF_WORKERS": "3"}
    assert _error(too_high) == "ZOTSHELF_METRICS must leave a port for each of ZOTSHELF_WORKERS"
    assert "takes ZOTSHELF_PORT" in _error({"ZOTSHELF_METRICS": "[::1]:8079", "ZOTSHELF_WORKERS": "2"})
    on_socket = {"ZOTSHELF_METRICS": "[::1]:8080", "ZOTSHELF_SOCKET": "/run/zotshelf.sock"}
    assert Settings.load(on_socket).metrics == "[::1]:8080"
