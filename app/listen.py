"""The sockets to listen on, IPv6 first, and the URLs at which they are reached."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

logger: Final = logging.getLogger("zotshelf.listen")

_BACKLOG: Final = 2048
_EVERYWHERE: Final = ipaddress.IPv6Address("::")
_OWNER_AND_GROUP: Final = 0o660

SocketAddress: TypeAlias = tuple[Any, ...]
"""Address and port, and for IPv6 flow and scope, as the socket module has them."""


class ListenError(Exception):
    """No socket can be had; the text is one line that says why."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return the listening sockets for an address or name; port 0 takes one free port for all.

    `::` is one socket for both families, since uvicorn's own would take IPv6 only; any other IPv6
    address is one for IPv6 alone. Raises ListenError.
    """
    if host == str(_EVERYWHERE):
        return [_listen_everywhere(port)]
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _resolve(host, port):
        if sockets and not port:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(bind(family, address, dual_stack=False))
        except OSError as error:
            failure = error
            if error.errno != errno.EADDRNOTAVAIL:
                break
    if failure is not None and (failure.errno != errno.EADDRNOTAVAIL or not sockets):
        for listening in sockets:
            listening.close()
        _refuse(host, port, failure)
    return sockets


def listen_unix(path: Path) -> socket.socket:
    """Return the listening Unix socket `path`, in the place of one that was left behind.

    Owner and group may connect. Raises ListenError.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left_behind(path)
        # Nobody may connect before the mode is right; the umask is the process's, which has no threads yet.
        before = os.umask(0o777)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(_OWNER_AND_GROUP)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        reason = {
            errno.EADDRINUSE: "another program listens there, or it is a file; choose with ZOTSHELF_SOCKET",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on unix:{path}: {reason}") from None
    return listening


def _remove_left_behind(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass


def _listen_everywhere(port: int) -> socket.socket:
    if not _has_ipv6():
        logger.warning("this host has no IPv6 (it is disabled in the kernel): listening for IPv4 only")
    try:
        return bind(socket.AF_INET6, ("::", port), dual_stack=True)
    except OSError as error:
        # Where IPv6 is merely switched off, :: still means every IPv4 address.
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            _refuse("::", port, error)
    try:
        return bind(socket.AF_INET, ("0.0.0.0", port), dual_stack=False)  # noqa: S104  # as asked for
    except OSError as error:
        _refuse("0.0.0.0", port, error)  # noqa: S104


def bind(family: int, address: SocketAddress, *, dual_stack: bool) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _resolve(host: str, port: int) -> list[tuple[int, SocketAddress]]:
    """Return family and socket address of all that `host` stands for, IPv6 first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        _refuse(host, port, error)
    unique = dict.fromkeys((family, address) for family, *_, address in found)
    return sorted(unique, key=lambda pair: pair[0] != socket.AF_INET6)


def _refuse(host: str, port: int, error: OSError) -> NoReturn:
    shown = f"[{host}]" if ":" in host else host
    absent = "this machine has no such address; choose with ZOTSHELF_HOST"
    if ":" in host and not _has_ipv6():
        absent = (
            "IPv6 is disabled on this machine; enable it (sysctl net.ipv6.conf.all.disable_ipv6=0),"
            " or choose an IPv4 address with ZOTSHELF_HOST"
        )
    reason = {
        errno.EADDRINUSE: "another program has this port; stop it or choose with ZOTSHELF_PORT",
        errno.EADDRNOTAVAIL: absent,
        errno.EAFNOSUPPORT: absent,
        errno.EACCES: "ports below 1024 need a privilege; choose with ZOTSHELF_PORT",
    }.get(error.errno or 0, error.strerror)
    raise ListenError(f"cannot listen on {shown}:{port}: {reason}")


def answers_on(sockets: list[socket.socket]) -> list[str]:
    """Return the URLs at which the sockets can be reached, those of this machine alone first.

    A socket for every address is reached at the loopback addresses and at the addresses that
    outgoing connections would have, as far as the machine has them. A Unix socket's URL is what nginx's
    proxy_pass takes behind `http://`.
    """
    urls: list[str] = []
    for listening in sockets:
        if listening.family == socket.AF_UNIX:
            urls.append(f"unix:{listening.getsockname()}:/")
            continue
        address, port = listening.getsockname()[:2]
        if ipaddress.ip_address(address).is_unspecified:
            urls += [_url(found, port) for found in _own_addresses(listening) or [address]]
        else:
            urls.append(_url(address, port))
    return urls


def _own_addresses(listening: socket.socket) -> list[str]:
    targets = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "192.0.2.1")]
    if listening.family == socket.AF_INET6:
        ipv6 = [(socket.AF_INET6, "::1"), (socket.AF_INET6, "2001:db8::1")]
        alone = listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        targets = ipv6 if alone else [ipv6[0], targets[0], ipv6[1], targets[1]]
    found = (_source_address(family, target) for family, target in targets)
    return list(dict.fromkeys(address for address in found if address))


def _source_address(family: int, target: str) -> str | None:
    """Return our address on the way to `target`, None without a way. Nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _has_ipv6() -> bool:
    return _source_address(socket.AF_INET6, "::1") is not None


def _url(address: str, port: int) -> str:
    found = ipaddress.ip_address(address)
    # RFC 6874: the '%' before a zone is itself encoded.
    host = f"[{found}]".replace("%", "%25") if found.version == 6 else str(found)
    return f"http://{host}:{port}/"
