"""The nginx configuration that `zotshelf host` writes: nginx takes it, gixy has nothing against it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.host.areas.nginx import FILES
from app.host.loading import OptionsError, load
from app.host.render import Origin, render
from scripts.bench.processes import free_port
from scripts.nginx_examples import nginx_examples
from tests.hosting import DOMAIN, STATE, certificate, complaints, files, host, installed, written
from tests.requirements import program, require
from tests.stores import environment

SITE = "etc/nginx/conf.d/zotshelf.conf"
SNIPPET = "etc/nginx/snippets/zotshelf.conf"
RELAY = "etc/nginx/modules-enabled/90-zotshelf-relay.conf"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

Given = dict[str, Any]

# Ports that need no privilege, since nginx -t opens them.
_BASE: Given = {
    "domain": DOMAIN,
    "email": "admin@example.org",
    "http_port": 18080,
    "https_port": 18443,
    "nginx_version": "1.22.1",
}
_SOURCES: dict[str, Given] = {
    "http-01": {},
    "dns-01": {"challenge": "dns-01"},
    "own": {
        "certificate": f"{STATE}/tls/{DOMAIN}/fullchain.pem",
        "certificate_key": f"{STATE}/tls/{DOMAIN}/privkey.pem",
    },
}
_NAMES: dict[str, Given] = {
    "one": {},
    "two": {"domain": (DOMAIN, "b.example")},
    "separate": {"domain": (DOMAIN, "b.example"), "separate_certificates": True},
}
_RELAYS: dict[str, Given] = {"direct": {}, "relayed": {"relay": ("2001:db8::7", "2001:db8:1::/48")}}
_OFFLOADS: dict[str, Given] = {
    "folder": {"storage": "file:/srv/{user}/files"},
    "s3": {"storage": "s3://my-bucket/library"},
    "offload from a folder": {"offload": True},
    "offload from S3": {
        "offload": True,
        "storage": "s3://my-bucket/library",
        "resolver": ("::1", "192.0.2.53"),
    },
    "offload from a mount": {"offload": True, "storage": "s3://my-bucket/library", "mount": "/srv/bucket"},
}
_LIMITS: tuple[Given, ...] = ({"connections_per_client": 0}, {"requests_per_second": 0})


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for /var/lib/zotshelf, with a certificate for every name."""
    folder = tmp_path_factory.mktemp("state")
    for name in (DOMAIN, "b.example"):
        own = folder / "tls" / name
        own.mkdir(parents=True)
        certificate(own)
    return folder


def _combinations(base: Given, switches: Iterable[Given]) -> list[Given]:
    """Return `base` with each of the switches on or off."""
    pairs: list[tuple[Given, Given]] = [({}, switch) for switch in switches]
    return [
        dict(itertools.chain(*(part.items() for part in (base, *on)))) for on in itertools.product(*pairs)
    ]


def _refused(folder: Path, state: Path, combinations: list[Given]) -> list[str]:
    """Return what nginx has against any of the combinations."""
    port = free_port()

    def refused(numbered: tuple[int, Given]) -> str:
        number, given = numbered
        options = load(given, None)
        tree = folder / str(number)
        for row in FILES:
            for file in render(row, options, Origin("a test")):
                path = tree / file.target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file.text.replace(STATE, str(state)))
        main = installed(tree, state, snippet_port=port if options.nginx == "snippet" else 0)
        said = complaints(main)
        return f"{given}: {said}" if said else ""

    with ThreadPoolExecutor(2) as threads:
        return [found for found in threads.map(refused, enumerate(combinations)) if found]


@pytest.mark.parametrize("relay", _RELAYS)
@pytest.mark.parametrize("names", _NAMES)
@pytest.mark.parametrize("source", _SOURCES)
def test_nginx_takes_every_site(tmp_path: Path, state: Path, source: str, names: str, relay: str) -> None:
    given = _BASE | _SOURCES[source] | _NAMES[names] | _RELAYS[relay]
    if (source, names) == ("own", "separate"):
        with pytest.raises(OptionsError, match="--separate-certificates has no meaning with --certificate"):
            load(given, None)
        return
    switches: tuple[Given, ...] = (
        {"socket": "/run/zotshelf/zotshelf.sock"},
        {"http2": True},
        {"tls": "modern"},
        {"offload": True},
        {"default_server": False},
        *_LIMITS,
    )
    combinations = _combinations(given, switches)
    assert len(combinations) == 128
    assert _refused(tmp_path, state, combinations) == []


@pytest.mark.parametrize("offload", _OFFLOADS)
@pytest.mark.parametrize("nginx", ["site", "snippet"])
def test_nginx_takes_every_way_of_serving(tmp_path: Path, state: Path, nginx: str, offload: str) -> None:
    switches: tuple[Given, ...] = ({"base_path": "/dav/zotero"}, {"hsts": 0}, *_LIMITS)
    combinations = _combinations(_BASE | {"nginx": nginx} | _OFFLOADS[offload], switches)
    assert len(combinations) == 16
    assert _refused(tmp_path, state, combinations) == []


@pytest.mark.parametrize("relay_to", ["2001:db8::80", "192.0.2.80"])
def test_nginx_takes_the_relay(tmp_path: Path, state: Path, relay_to: str) -> None:
    require(STREAM_MODULE.exists(), f"{STREAM_MODULE} (Debian package libnginx-mod-stream)")
    ports = ("--http-port", "18080", "--https-port", "18443")
    out = written(tmp_path, "--relay-to", relay_to, *ports, needed=())
    found = {target for target in files(out) if target.startswith("etc/nginx/")}
    assert found == {RELAY}
    assert (
        "/etc/nginx/sites-enabled/default"
        in host("--output", str(tmp_path / "again"), "--relay-to", relay_to).output
    )
    (out / "etc/nginx/conf.d").mkdir()
    modules = f"load_module {STREAM_MODULE};\ninclude modules-enabled/*.conf;"
    assert complaints(installed(out, state, modules=modules)) == ""


def test_the_relay_hands_over_to_the_ports_that_the_host_listens_on(tmp_path: Path) -> None:
    ports = ("--relay-https-port", "9443", "--relay-http-port", "9480")
    relay = files(written(tmp_path / "relay", "--relay-to", "2001:db8::80", *ports, needed=()))[RELAY]
    site = files(written(tmp_path / "host", "--relay", "2001:db8::7", *ports))[SITE]
    for port in ("9443", "9480"):
        assert f"proxy_pass [2001:db8::80]:{port};" in relay
        assert re.search(rf"listen \[::\]:{port} (ssl )?proxy_protocol;", site)
    assert relay.count("proxy_protocol on;") == 2
    assert site.count("set_real_ip_from 2001:db8::7;") == 2


@pytest.mark.parametrize(
    ("version", "parameter", "directive"),
    [
        pytest.param("1.19.4", True, False, id="the oldest"),
        pytest.param("1.22.1", True, False, id="Debian 12"),
        pytest.param("1.25.0", True, False, id="the last without the directive"),
        pytest.param("1.25.1", False, True, id="the first with the directive"),
        pytest.param("1.30.0", False, True, id="later"),
        pytest.param("2.0.0", False, True, id="much later"),
    ],
)
def test_http2_is_spelled_as_the_version_wants_it(
    tmp_path: Path, version: str, parameter: bool, directive: bool
) -> None:
    site = files(written(tmp_path, "--http2", "--nginx-version", version))[SITE]
    listens = re.findall(r"listen .*443 ssl.*;", site)
    assert [" http2" in listen for listen in listens] == [parameter] * 4
    assert ("    http2 on;\n" in site) == directive


def test_http2_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    assert "http2" not in files(written(tmp_path))[SITE].replace("--no-http2", "")


@pytest.mark.parametrize(("version", "known"), [("1.22.1", False), ("1.23.0", False), ("1.23.1", True)])
def test_the_resolver_is_told_not_to_look_for_ipv4_where_it_knows_how(
    tmp_path: Path, version: str, known: bool
) -> None:
    out = written(tmp_path, "--offload", "--storage", "s3://my-bucket", "--nginx-version", version)
    wanted = "resolver [fd00:ec2::253] valid=30s" + (" ipv4=off" if known else "") + ";"
    assert wanted in files(out)[SNIPPET]


def test_the_version_is_that_of_the_nginx_installed_here(tmp_path: Path) -> None:
    done = subprocess.run([program("nginx"), "-v"], capture_output=True, text=True, check=True)
    version = re.search(r"nginx/([\d.]+)", done.stderr)
    assert version is not None
    here = files(written(tmp_path / "a", "--http2"))[SITE]
    named = files(written(tmp_path / "b", "--http2", "--nginx-version", version[1]))[SITE]
    assert here.splitlines()[1:] == named.splitlines()[1:]


def test_a_site_listens_on_both_families_whatever_the_host_has(tmp_path: Path) -> None:
    site = files(written(tmp_path))[SITE]
    found = re.findall(r"^ +listen (.*);$", site, re.MULTILINE)
    secure = ["443 ssl", "[::]:443 ssl"]
    assert found == ["80", "[::]:80", *(f"{listen} default_server" for listen in secure), *secure]


def test_no_directive_waits_for_a_certificate_or_an_operator(tmp_path: Path) -> None:
    for text in files(written(tmp_path, "--offload")).values():
        assert not re.search(r"^\s*#\s*(listen|ssl_|server|include|return)\b.*;", text, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="plain"),
        pytest.param(("--base-path", "/dav"), id="base path"),
        pytest.param(("--offload",), id="offload from a folder"),
        pytest.param(("--offload", "--storage", "s3://my-bucket/library"), id="offload from S3"),
        pytest.param(("--relay", "2001:db8::7"), id="relay"),
        pytest.param(("--http2", "--tls", "modern"), id="HTTP/2 and TLS 1.3"),
        pytest.param(("--domain", "b.example", "--separate-certificates"), id="two certificates"),
        pytest.param(("--nginx", "snippet"), id="snippet"),
        pytest.param(("--nginx", "snippet", "--offload"), id="snippet with offload"),
        pytest.param(("--relay-to", "2001:db8::80"), id="the relay itself"),
        pytest.param(("--connections-per-client", "0", "--requests-per-second", "0"), id="no limits"),
    ],
)
def test_gixy_has_nothing_against_it(tmp_path: Path, state: Path, arguments: tuple[str, ...]) -> None:
    out = written(tmp_path, *arguments)
    (out / "etc/nginx/conf.d").mkdir(exist_ok=True)
    port = 18081 if "snippet" in arguments else 0
    main = installed(out, state, snippet_port=port, modules="include modules-enabled/*.conf;")
    command = [sys.executable, "-m", "gixy", "--format", "json", str(main)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == []
    assert done.returncode == 0


def test_the_examples_are_what_the_templates_make() -> None:
    for path, text in nginx_examples().items():
        assert path.read_text(encoding="utf-8") == text, f"run scripts/nginx_examples.py: {path}"
