"""Steps about this machine: settings, users, and who listens."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp

from app.doctor.reach import bracketed
from app.doctor.step import Result, State
from app.settings import Settings
from app.users_file import UsersFile, UsersFileError

_HEALTH_SECONDS: Final = 5.0
_NGINX_SECONDS: Final = 20.0
_NGINX_FILE: Final = Path("/etc/nginx/conf.d/zotshelf.conf")
_START: Final = "zotshelf serve (or: sudo systemctl start zotshelf)"
_LISTEN_EVERYWHERE: Final = "ZOTSHELF_HOST=:: and start the server again"


async def users_file(settings: Settings) -> Sequence[Result]:
    """The users file can be read, has users, and is not for everybody to read."""
    path = settings.users_file
    try:
        found = UsersFile.check(path)
        mode = path.stat().st_mode
    except (UsersFileError, OSError) as error:
        return [Result("users file", State.FAILED, str(error), "zotshelf user add NAME")]
    results = [Result("users file", State.OK, f"{len(found.hashes)} users in {path}")]
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        text = f"everybody on this machine may read or write {path}"
        results.append(Result("users file", State.WARNING, text, f"chmod o-rwx {path}"))
    for complaint in found.complaints:
        text = f"passed over: {complaint}"
        results.append(Result("users file", State.WARNING, text, "zotshelf user remove, then add"))
    return results


async def listening(settings: Settings) -> Sequence[Result]:
    """The server answers, and over IPv6."""
    if settings.socket:
        connector = aiohttp.UnixConnector(path=str(settings.socket))
        error = await _health("http://zotshelf/-/health", connector)
        return [_answer(f"unix:{settings.socket}", error)]
    if not settings.port:
        text = "the port is chosen anew at each start (ZOTSHELF_PORT=0)"
        return [Result("listening", State.SKIPPED, text)]
    everywhere = settings.host in ("::", "0.0.0.0")  # noqa: S104  # compared, not listened on
    hosts = ["::1", "127.0.0.1"] if everywhere else [settings.host]
    errors = {
        host: await _health(f"http://{bracketed(host)}:{settings.port}/-/health", aiohttp.TCPConnector())
        for host in hosts
    }
    return _families(errors, settings.port) if everywhere else _one(settings, errors[settings.host])


def _families(errors: dict[str, str], port: int) -> list[Result]:
    ipv6, ipv4 = errors["::1"], errors["127.0.0.1"]
    if ipv6 and ipv4:
        return [_answer(f"port {port}", ipv6)]
    if ipv6:
        text = f"the server answers over IPv4 alone: [::1]:{port}: {ipv6}"
        return [Result("listening", State.FAILED, text, _LISTEN_EVERYWHERE)]
    if ipv4:
        text = f"the server answers over IPv6 alone: 127.0.0.1:{port}: {ipv4}"
        return [Result("listening", State.WARNING, text, "zotshelf serve, which listens on both families")]
    return [Result("listening", State.OK, f"port {port}, over IPv6 and IPv4")]


def _one(settings: Settings, error: str) -> list[Result]:
    address = f"{bracketed(settings.host)}:{settings.port}"
    result = _answer(address, error)
    if error or ":" in settings.host or not settings.host.replace(".", "").isdigit():
        return [result]
    text = f"the server listens on {address}, which is IPv4 alone"
    state = State.WARNING if settings.host.startswith("127.") else State.FAILED
    return [Result("listening", state, text, _LISTEN_EVERYWHERE)]


def _answer(where: str, error: str) -> Result:
    if error:
        return Result("listening", State.FAILED, f"the server does not answer on {where}: {error}", _START)
    return Result("listening", State.OK, f"the server answers on {where}")


async def _health(url: str, connector: aiohttp.BaseConnector) -> str:
    """Return why the server's health cannot be had; empty where it can."""
    timeout = aiohttp.ClientTimeout(total=_HEALTH_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            async with session.get(url) as response:
                body = await response.content.read(64)
        except TimeoutError:
            return f"no answer within {_HEALTH_SECONDS:.0f} s"
        except aiohttp.ClientConnectorError as error:
            return error.strerror or str(error)
        except (aiohttp.ClientError, OSError) as error:
            return str(error)
    return "" if (response.status, body) == (200, b"ok\n") else "another program answers there"


async def nginx(_: Settings) -> Sequence[Result]:
    """nginx takes the configuration that `zotshelf host` wrote."""
    command = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if command is None or not _NGINX_FILE.exists():
        text = f"no nginx here with {_NGINX_FILE}, which 'zotshelf host' writes"
        return [Result("nginx", State.SKIPPED, text)]
    if os.geteuid() != 0:
        return [Result("nginx", State.SKIPPED, "only root may read nginx's keys: sudo nginx -t")]
    code, said = await _run(command, "-t")
    if code == 0:
        return [Result("nginx", State.OK, "nginx takes its configuration")]
    last = said.strip().splitlines()[-2:-1] or [f"exit code {code}"]
    return [Result("nginx", State.FAILED, last[0], "sudo nginx -t, and mend the line that it names")]


async def _run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_NGINX_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, "no end\n"
    return process.returncode or 0, said.decode(errors="replace")
