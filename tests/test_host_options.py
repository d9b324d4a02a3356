"""What `zotshelf host` takes for an option, on the command line and in a file, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.host.loading import OptionsError, load
from app.host.options import Options
from tests.hosting import DOMAIN, NEEDED, files, host, written
from tests.stores import REPOSITORY, environment

_NEEDED: dict[str, object] = {"domain": DOMAIN, "email": "admin@example.org"}
_TEXTS = [
    "domain",
    "email",
    "storage",
    "mount",
    "region",
    "s3-endpoint",
    "base-path",
    "users-file",
    "prefix",
    "account",
    "server",
    "socket",
    "metrics",
    "metrics-from",
    "nginx",
    "nginx-version",
    "tls",
    "certificate",
    "certificate-key",
    "resolver",
    "relay",
    "relay-to",
    "acme-server",
    "challenge",
    "lego",
    "nameserver",
    "metadata-account",
]
_NUMBERS = [
    "workers",
    "port",
    "http-port",
    "https-port",
    "hsts",
    "connections-per-client",
    "requests-per-second",
    "relay-https-port",
    "relay-http-port",
    "renew-days",
    "ssh-port",
]
_SWITCHES = ["separate-certificates", "http2", "offload", "chrony", "firewall", "default-server"]
_GOOD = {
    "domain": "dav.example.org",
    "email": "admin@example.org",
    "storage": "file:/srv/files",
    "mount": "/srv/bucket",
    "region": "eu-central-1",
    "s3-endpoint": "https://s3.example.org",
    "base-path": "/dav",
    "users-file": "/etc/zotshelf/users",
    "prefix": "/opt/zotshelf",
    "account": "zotshelf",
    "server": "gunicorn",
    "socket": "/run/zotshelf/zotshelf.sock",
    "metrics": "[::1]:9633",
    "metrics-from": "2001:db8::9",
    "nginx": "site",
    "nginx-version": "1.22.1",
    "tls": "modern",
    "certificate": "/etc/ssl/chain.pem",
    "certificate-key": "/etc/ssl/key.pem",
    "resolver": "2001:db8::53",
    "relay": "2001:db8::/64",
    "relay-to": "2001:db8::80",
    "acme-server": "https://acme.example.org/directory",
    "challenge": "dns-01",
    "lego": "5",
    "nameserver": "2001:db8::53",
    "metadata-account": "ann",
}

_ALSO_GOOD = (
    ("storage", "s3://my-bucket/library"),
    ("storage", "file:/srv/{user}/files"),
    ("acme-server", "https://[2001:db8::1]:14000/dir"),
    ("relay", "192.0.2.7"),
    ("metrics", "127.0.0.1:9633"),
)


def test_the_tables_here_know_every_option() -> None:
    known = {name.replace("-", "_") for name in (*_TEXTS, *_NUMBERS, *_SWITCHES)}
    assert known == set(Options.model_fields)
    assert list(_GOOD) == _TEXTS


_INJECTIONS = [
    pytest.param("{}\nlisten 81;", id="line feed"),
    pytest.param("{}\n", id="line feed at the end"),
    pytest.param("\n{}", id="line feed at the beginning"),
    pytest.param("{}\rx", id="carriage return"),
    pytest.param("{}\x0bx", id="vertical tab"),
    pytest.param("{}\x85x", id="next line"),
    pytest.param("{}\u2028x", id="line separator"),
    pytest.param("{};", id="semicolon"),
    pytest.param("{}; return 200", id="a directive"),
    pytest.param('{}"', id="double quote"),
    pytest.param("{}'", id="single quote"),
    pytest.param("{}`id`", id="backquotes"),
    pytest.param("{}$host", id="variable of nginx"),
    pytest.param("{}${{HOME}}", id="variable of a shell"),
    pytest.param("{}$(id)", id="command substitution"),
    pytest.param("{}%h", id="specifier of systemd"),
    pytest.param("{}{{", id="opening brace"),
    pytest.param("{}}}", id="closing brace"),
    pytest.param("{}{{{{7*7}}}}", id="expression of a template"),
    pytest.param("{}#", id="number sign"),
    pytest.param("{}\\", id="backslash"),
    pytest.param("{} x", id="space"),
    pytest.param(" {}", id="space in front"),
    pytest.param("{}\tx", id="tab"),
    pytest.param("{}|x", id="pipe"),
    pytest.param("{}&x", id="ampersand"),
    pytest.param("{}<x>", id="angle brackets"),
    pytest.param("{}*", id="asterisk"),
    pytest.param("{}!", id="exclamation mark"),
    pytest.param("{}\x00", id="NUL"),
    pytest.param("{}\x7f", id="delete"),
    pytest.param("{}\u037e", id="Greek question mark, which looks like a semicolon"),
    pytest.param("{}\uff1b", id="full-width semicolon"),
    pytest.param("{}\uff0e", id="full-width dot"),
    pytest.param("{}\u2024", id="one dot leader"),
    pytest.param("{}\u00a0", id="no-break space"),
    pytest.param("{}\u200b", id="zero-width space"),
    pytest.param("{}\u202e", id="right-to-left override"),
    pytest.param("{}/../../etc", id="parent folders"),
]


def _in_a_file(folder: Path, name: str, value: object) -> Path:
    """Write an options file with all that is needed and this value; JSON's strings are TOML's, too."""
    path = folder / "host.toml"
    values = _NEEDED | {name.replace("-", "_"): value}
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    path.write_text(text.replace("\x7f", "\\u007F"), encoding="utf-8", newline="\n")
    return path


def _refusal(given: dict[str, object], file: Path | None) -> str:
    with pytest.raises(OptionsError) as caught:
        load(given, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("injection", _INJECTIONS)
def test_nothing_typed_can_end_a_value(tmp_path: Path, injection: str) -> None:
    for name, good in (*_GOOD.items(), *_ALSO_GOOD):
        value, key = injection.format(good), name.replace("-", "_")
        assert _refusal(_NEEDED | {key: value}, None).startswith(f"--{name} must "), value
        file = _in_a_file(tmp_path, name, value)
        assert _refusal({}, file).startswith(f"{key!r} in {str(file)!r} must "), value


@pytest.mark.parametrize("name", _TEXTS)
def test_a_refused_text_ends_in_one_line_and_2(tmp_path: Path, name: str) -> None:
    said = host("--output", str(tmp_path / "out"), *NEEDED, f"--{name}", f"{_GOOD[name]};\nx")
    assert said.code == 2
    assert said.errors.startswith(f"zotshelf host: --{name} must ")
    assert said.errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value", ["", "x", "1;", "1\n", "-1", "1.5", "0x10", "１", "99999999999", "1 2", "1_0"]
)
def test_a_number_is_a_number(tmp_path: Path, value: str) -> None:
    for name in _NUMBERS:
        said = host("--output", str(tmp_path), *NEEDED, f"--{name}", value)
        assert said.code == 2
        assert said.errors.startswith(f"zotshelf host: --{name} must be ")
        assert said.errors.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(pytest.param(name, True, id=f"{name} as a truth") for name in _NUMBERS),
        *(pytest.param(name, "8", id=f"{name} as a text") for name in _NUMBERS),
        *(pytest.param(name, [1], id=f"{name} as a list") for name in _NUMBERS),
        *(pytest.param(name, "yes", id=f"{name} as a text") for name in _SWITCHES),
        *(pytest.param(name, 1, id=f"{name} as a number") for name in _SWITCHES),
        *(pytest.param(name, 1, id=f"{name} as a number") for name in _TEXTS),
        *(pytest.param(name, True, id=f"{name} as a truth") for name in _TEXTS),
    ],
)
def test_a_file_has_values_of_the_right_kind(tmp_path: Path, name: str, value: object) -> None:
    file = _in_a_file(tmp_path, name, value)
    assert _refusal({}, file).startswith(f"{name.replace('-', '_')!r} in {str(file)!r} must ")


@pytest.mark.parametrize(
    ("name", "typed", "taken"),
    [
        pytest.param("domain", "DAV.Example.ORG", ("dav.example.org",), id="capitals"),
        pytest.param("domain", "dav.example.org.", ("dav.example.org",), id="the root's dot"),
        pytest.param("domain", "büchér.example", ("xn--bchr-dpa5i.example",), id="another script"),
        pytest.param("domain", "BÜCHÉR.example", ("xn--bchr-dpa5i.example",), id="its capitals"),
        pytest.param("domain", "xn--bchr-dpa5i.example", ("xn--bchr-dpa5i.example",), id="an A-label"),
        pytest.param("domain", "a.b-c.d0.example", ("a.b-c.d0.example",), id="many labels"),
        pytest.param("email", "a.b+zot@Example.ORG", "a.b+zot@example.org", id="tagged mailbox"),
        pytest.param("email", "a@büchér.example", "a@xn--bchr-dpa5i.example", id="mail in another script"),
        pytest.param("storage", "file:///srv/files/", "file:/srv/files", id="folder as a URL"),
        pytest.param(
            "storage", "file:/srv/{user}/files", "file:/srv/{user}/files", id="folder for each user"
        ),
        pytest.param("storage", "s3://my-bucket", "s3://my-bucket", id="bucket"),
        pytest.param("storage", "s3://my-bucket/a/{user}/", "s3://my-bucket/a/{user}", id="prefix"),
        pytest.param("base-path", "/dav/", "/dav", id="base path with a slash"),
        pytest.param("users-file", "/etc/zotshelf/users/", "/etc/zotshelf/users", id="path with a slash"),
        pytest.param("resolver", "[2001:DB8:0::53]", ("2001:db8::53",), id="bracketed address"),
        pytest.param("resolver", "192.0.2.53", ("192.0.2.53",), id="IPv4 address"),
        pytest.param("relay", "2001:db8:0:0::/64", ("2001:db8::/64",), id="network"),
        pytest.param("relay", "2001:db8::7/128", ("2001:db8::7",), id="network of one"),
        pytest.param(
            "acme-server", "https://[2001:db8::1]:14000/dir", "https://[2001:db8::1]:14000/dir", id="URL"
        ),
        pytest.param("region", "us-gov-west-1", "us-gov-west-1", id="region"),
        pytest.param("metrics", "[0::1]:09633", "[::1]:9633", id="metrics"),
    ],
)
def test_a_value_has_one_spelling(name: str, typed: str, taken: object) -> None:
    key = name.replace("-", "_")
    assert getattr(load(_NEEDED | {key: typed}, None), key) == taken


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        pytest.param("domain", "", id="empty domain"),
        pytest.param("domain", "localhost", id="domain of one label"),
        pytest.param("domain", "*.example.org", id="wildcard"),
        pytest.param("domain", "dav.example.org..", id="two dots at the end"),
        pytest.param("domain", ".example.org", id="dot in front"),
        pytest.param("domain", "dav..example.org", id="empty label"),
        pytest.param("domain", "-dav.example.org", id="hyphen in front"),
        pytest.param("domain", "dav_.example.org", id="underscore"),
        pytest.param("domain", "dav.example.1", id="number at the end"),
        pytest.param("domain", "192.0.2.1", id="IPv4 address as domain"),
        pytest.param("domain", "2001:db8::1", id="IPv6 address as domain"),
        pytest.param("domain", "dav.example.org:443", id="domain with port"),
        pytest.param("domain", "https://dav.example.org", id="URL as domain"),
        pytest.param("domain", f"{'a' * 64}.example", id="label too long"),
        pytest.param("domain", f"{'a.' * 130}example", id="domain too long"),
        pytest.param("domain", "ｄａｖ.example.org", id="full-width letters"),
        pytest.param("domain", "dav。example。org", id="ideographic dots"),
        pytest.param("domain", "xn--a.example", id="A-label of nothing"),
        pytest.param("email", "example.org", id="email without mailbox"),
        pytest.param("email", "@example.org", id="email with empty mailbox"),
        pytest.param("email", "a@b@example.org", id="two at signs"),
        pytest.param("email", "-a@example.org", id="mailbox that looks like an option"),
        pytest.param("email", "a..b@example.org", id="two dots in a mailbox"),
        pytest.param("storage", "files", id="storage without scheme"),
        pytest.param("storage", "file:files", id="relative folder"),
        pytest.param("storage", "file:/", id="the root"),
        pytest.param("storage", "file:/{user}", id="a user at the root"),
        pytest.param("storage", "file:/srv//files", id="empty segment"),
        pytest.param("storage", "file:/srv/./files", id="dot segment"),
        pytest.param("storage", "s3://Bucket", id="bucket in capitals"),
        pytest.param("storage", "s3://my-bucket/a b", id="space in a prefix"),
        pytest.param("users-file", "users", id="relative path"),
        pytest.param("users-file", "/", id="the root as a file"),
        pytest.param("users-file", "/a/../b", id="parent segment"),
        pytest.param("users-file", f"/{'a' * 300}", id="segment too long"),
        pytest.param("account", "root", id="root"),
        pytest.param("account", "Zotshelf", id="account in capitals"),
        pytest.param("account", "0", id="account as a number"),
        pytest.param("socket", "/tmp/zotshelf.sock", id="socket not below /run"),
        pytest.param("socket", "/run/zotshelf.sock", id="socket without a folder"),
        pytest.param("socket", "/run/a/b/zotshelf.sock", id="socket too deep"),
        pytest.param("nginx-version", "1.22", id="half a version"),
        pytest.param("nginx-version", "1.22.١", id="digits of another script"),
        pytest.param("resolver", "dns.example.org", id="name as address"),
        pytest.param("resolver", "fe80::1%eth0", id="address with a zone"),
        pytest.param("resolver", "2001:db8::53/128", id="network as address"),
        pytest.param("relay", "2001:db8::1/64", id="address within a network"),
        pytest.param("relay", "::/0", id="every address"),
        pytest.param("relay", "fe80::1%eth0", id="network with a zone"),
        pytest.param("acme-server", "http://acme.example.org", id="without TLS"),
        pytest.param("acme-server", "https://a:b@acme.example.org", id="credentials"),
        pytest.param("acme-server", "https://acme.example.org/?a=b", id="query"),
        pytest.param("acme-server", "https://acme.example.org:x/", id="odd port"),
        pytest.param("acme-server", "https:///directory", id="no host"),
        pytest.param("metrics", "9633", id="metrics without an address"),
        pytest.param("metrics", "::1:9633", id="metrics without brackets"),
        pytest.param("metrics", "[::1]:0", id="metrics at any port"),
        pytest.param("metrics", "[::1]:65536", id="metrics beyond the last port"),
        pytest.param("metrics", "[fe80::1%eth0]:9633", id="metrics with a zone"),
        pytest.param("metrics-from", "::/0", id="metrics for all"),
        pytest.param("region", "eu_central_1", id="underscores in a region"),
        pytest.param("lego", "3", id="unknown generation"),
        pytest.param("nginx", "apache", id="unknown kind"),
    ],
)
def test_what_is_no_such_value_is_refused(tmp_path: Path, name: str, typed: str) -> None:
    said = host("--output", str(tmp_path / "out"), *NEEDED, f"--{name}", typed)
    assert said.code == 2
    assert said.errors.startswith(f"zotshelf host: --{name} must ")
    assert said.errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["--email", "a@example.org"], "--domain is missing", id="no domain"),
        pytest.param(["--domain", DOMAIN], "--email is missing", id="no email"),
        pytest.param(
            [*NEEDED, "--certificate", "/a/b"], "--certificate and --certificate-key", id="half a certificate"
        ),
        pytest.param(
            [*NEEDED, "--mount", "/mnt/s3"], "--mount needs --storage s3://", id="mount without a bucket"
        ),
        pytest.param([*NEEDED, "--port", "443"], "must differ from each other", id="one port twice"),
        pytest.param(
            [*NEEDED, "--relay", "2001:db8::1", "--relay-http-port", "8443"],
            "must differ from each other",
            id="one relay port twice",
        ),
        pytest.param(
            [*NEEDED, "--relay", "2001:db8::1", "--nginx", "snippet"],
            "--relay needs --nginx site",
            id="relay to a snippet",
        ),
        pytest.param(
            [*NEEDED, "--storage", "file:/srv/a", "--users-file", "/srv/a/users"],
            "--users-file must not lie in the folder of --storage",
            id="users among the files",
        ),
        pytest.param(
            ["--nginx", "snippet", "--separate-certificates"],
            "--separate-certificates has no meaning with --nginx snippet",
            id="certificates of a snippet",
        ),
        pytest.param(
            [*NEEDED, "--metrics", "[::1]:8079", "--workers", "2"],
            "--metrics takes the port of --port",
            id="metrics on the server's port",
        ),
        pytest.param(
            [*NEEDED, "--metrics", "[::1]:65535", "--workers", "2"],
            "--metrics must leave a port for each of --workers",
            id="metrics without ports enough",
        ),
        pytest.param(
            [*NEEDED, "--metrics", "[2001:db8::5]:9633"],
            "--metrics-from is missing",
            id="metrics for nobody knows whom",
        ),
        pytest.param(
            [*NEEDED, "--metrics", "[::1]:9633", "--metrics-from", "2001:db8::9"],
            "--metrics-from needs --metrics with an address that other machines reach",
            id="metrics that nobody elsewhere reaches",
        ),
        pytest.param(
            [*NEEDED, "--metrics-from", "2001:db8::9"], "--metrics-from needs --metrics", id="no metrics"
        ),
        pytest.param(
            [*NEEDED, "--nginx-version", "1.18.0"],
            "--nginx-version must be 1.19.4 or later",
            id="an old nginx",
        ),
    ],
)
def test_options_must_fit_together(tmp_path: Path, arguments: list[str], reason: str) -> None:
    said = host("--output", str(tmp_path / "out"), *arguments)
    assert said.code == 2
    assert reason in said.errors
    assert said.errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "domian = 'a.example'", "'domian' in '{}' is not an option; did you mean 'domain'?", id="typo"
        ),
        pytest.param("[nginx]\nx = 1", "'nginx' in '{}' must be ", id="table"),
        pytest.param("zzz = 1", "'zzz' in '{}' is not an option", id="unknown"),
        pytest.param("https-port = 1", "did you mean 'https_port'?", id="hyphen"),
        pytest.param("domain = a", "the options file '{}' must be TOML", id="no TOML"),
        pytest.param("domain = ['a b']", "'domain' in '{}' must be a domain name", id="wrong item"),
        pytest.param("domain = [1]", "'domain' in '{}' must be", id="item of another kind"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "host.toml"
    file.write_text(text)
    said = host("--output", str(tmp_path / "out"), "--options", str(file))
    assert said.code == 2
    assert reason.format(file) in said.errors
    assert said.errors.count("\n") == 1


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    said = host("--output", str(tmp_path / "out"), "--options", str(tmp_path / "none.toml"))
    assert said.code == 2
    assert said.errors.endswith("cannot be read: No such file or directory\n")


def test_a_file_says_all_that_the_command_line_says(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text(
        f'domain = ["{DOMAIN}", "b.example"]\nemail = "admin@example.org"\nstorage = "s3://my-bucket/x"\n'
        'workers = 2\nhttp2 = true\nchrony = false\nresolver = "::1"\n'
    )
    by_file = written(tmp_path / "a", "--options", str(file), needed=())
    by_line = written(
        tmp_path / "b",
        *("--domain", "b.example", "--storage", "s3://my-bucket/x", "--workers", "2", "--http2"),
        *("--no-chrony", "--resolver", "::1"),
    )
    assert _without_origin(files(by_file)) == _without_origin(files(by_line))


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('domain = "other.example"\nemail = "admin@example.org"\nhttp2 = true\n')
    mixed = written(tmp_path / "a", "--options", str(file), "--domain", DOMAIN, "--no-http2", needed=())
    assert _without_origin(files(mixed)) == _without_origin(files(written(tmp_path / "b")))


def _without_origin(found: dict[str, str]) -> dict[str, list[str]]:
    return {
        target: [line for line in text.splitlines() if not line.startswith("# Written by")]
        for target, text in found.items()
        if not target.endswith("manifest.json")
    }


@pytest.mark.parametrize("arguments", [[], ["--output", "x", "--install"]])
def test_one_must_say_where_to_write(arguments: list[str]) -> None:
    said = host(*NEEDED, *arguments)
    assert said.code == 2
    assert said.errors == (
        "zotshelf host: say where to: either --output DIR, or --install for this machine\n"
    )


def test_the_help_knows_every_option() -> None:
    said = host("--help")
    assert said.code == 0
    for name in (*_TEXTS, *_NUMBERS, *_SWITCHES):
        assert f"--{name}" in said.output
    assert "TyperOption" not in said.output


def test_the_script_is_the_same_command(tmp_path: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "scripts/host_config.py"), *NEEDED, "--output"]
    done = subprocess.run(
        [*script, str(tmp_path / "a")], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "a") == files(written(tmp_path / "b"))
