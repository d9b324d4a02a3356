"""Steps about the public address: names, certificate, and what Zotero's clients would say."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

from app.doctor.reach import FAMILIES, addresses, bracketed, connected
from app.doctor.step import Result, State, Step
from app.doctor.zotero import CLIENTS, Account, Client, Verification, VerifyError

_TLS_SECONDS: Final = 10.0
_DAY: Final = 86400
_DAYS_LEFT: Final = 20
"""Below which a renewal should have been; it is tried from 30 days on."""
_RELAY: Final = (
    "a relay (zotshelf host --relay-to, see docs/ipv6-host.md), a load balancer with both families, or"
    " Cloudflare; CloudFront does not pass PROPFIND"
)


@dataclass(frozen=True)
class Address:
    """The public address that users type."""

    url: str
    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an address with http or https. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as https://dav.example.org/")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have neither user, query nor fragment")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(url.removesuffix("zotero/"), parts.scheme, parts.hostname, port)


def public_steps(address: Address, account: Account | None) -> list[Step]:
    """Return the steps about `address`; without an account nobody signs in."""
    steps = [Step("public name", partial(_names, address))]
    if address.scheme == "https":
        steps.append(Step("certificate", partial(_certificate, address), ("public name",)))
    for family in FAMILIES:
        needs = ("public name", "certificate")
        steps.append(Step(f"verify over {family}", partial(_verify, address, account, family), needs))
    return steps


async def _found(address: Address, family: str) -> list[str]:
    try:
        own = ipaddress.ip_address(address.host)
    except ValueError:
        return await addresses(address.host, address.port, FAMILIES[family])
    return [str(own)] if f"IPv{own.version}" == family else []


async def _names(address: Address) -> Sequence[Result]:
    ipv6, ipv4 = [await _found(address, family) for family in FAMILIES]
    if not ipv6 and not ipv4:
        text = f"{address.host} has no address, neither AAAA nor A"
        return [Result("public name", State.FAILED, text, f"an AAAA record for {address.host}")]
    results = [Result("public name", State.OK, f"{address.host} is {', '.join(map(bracketed, ipv6 + ipv4))}")]
    if not ipv6:
        text = f"{address.host} has no IPv6 address (AAAA)"
        mend = f"an AAAA record for {address.host}"
        results.append(Result("public name", State.WARNING, text, mend))
    if not ipv4:
        text = f"{address.host} has no IPv4 address: out of reach for networks that have IPv4 alone"
        results.append(Result("public name", State.WARNING, text, _RELAY))
    return results


async def _certificate(address: Address) -> Sequence[Result]:
    try:
        async with asyncio.timeout(_TLS_SECONDS):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=ssl.create_default_context()
            )
    except TimeoutError:
        return [_bad(f"no TLS within {_TLS_SECONDS:.0f} s")]
    except ssl.SSLCertVerificationError as error:
        return [_bad(error.verify_message)]
    except OSError as error:
        return [_bad(str(error))]
    certificate = writer.get_extra_info("peercert")
    writer.transport.abort()
    return [_judged(certificate)]


def _bad(reason: str) -> Result:
    mend = "sudo systemctl start zotshelf-certificate; journalctl -u zotshelf-certificate says why it is so"
    return Result("certificate", State.FAILED, reason, mend)


def _judged(certificate: dict[str, Any]) -> Result:
    names = ", ".join(str(value) for _, value in certificate.get("subjectAltName", ()))
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / _DAY
    text = f"for {names}, good for {days:.0f} days"
    if days < _DAYS_LEFT:
        mend = "systemctl list-timers 'zotshelf-*'; sudo systemctl start zotshelf-certificate"
        return Result("certificate", State.WARNING, f"{text}: it should have been renewed", mend)
    return Result("certificate", State.OK, text)


async def _verify(address: Address, account: Account | None, family: str) -> Sequence[Result]:
    step = f"verify over {family}"
    found = await _found(address, family)
    if not found:
        return [Result(step, State.SKIPPED, f"{address.host} has no address of {family}")]
    reached = await connected(found[0], address.port, FAMILIES[family])
    if reached.error:
        return [_unreached(step, family, reached.address, reached.error)]
    if account is None:
        return [Result(step, State.SKIPPED, "it answers; to go through it sign in: add --user NAME")]
    return [await _verified(step, address, account, client, family) for client in CLIENTS]


def _unreached(step: str, family: str, address: str, error: str) -> Result:
    text = f"{bracketed(address)} cannot be reached from here: {error}"
    return Result(step, State.FAILED, text, f"the firewall, nginx's 'listen', and {family} on this machine")


async def _verified(step: str, address: Address, account: Account, client: Client, family: str) -> Result:
    try:
        async with Verification(address.url, account, client, FAMILIES[family]) as verification:
            there = await verification.verify()
    except VerifyError as error:
        mend = "the log of zotshelf, or of nginx (/var/log/nginx/error.log), at this time"
        return Result(step, State.FAILED, f"{client.name}: {error}", mend)
    text = "verified" if there else "verified, and offers to create the collection zotero"
    return Result(step, State.OK, f"{client.name}: {text}")
