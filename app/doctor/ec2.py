"""Steps for machines of Amazon's: the metadata service and the time service, at their IPv6 addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp

from app.doctor.s3 import clock_result
from app.doctor.step import Result, State

METADATA: Final = "http://[fd00:ec2::254]"
TIME_SERVER: Final = ("fd00:ec2::123", 123)
_VENDOR: Final = Path("/sys/class/dmi/id/sys_vendor")
_SECONDS: Final = 3.0

# RFC 5905 section 7.3: version 4, mode 3 (client), and nothing else that a server would look at.
_REQUEST: Final = b"\x23" + bytes(47)
_TRANSMITTED: Final = slice(40, 48)
_SINCE_1900: Final = 2_208_988_800  # seconds from 1900, where NTP's time begins, to 1970


def is_ec2() -> bool:
    """Tell whether this is a machine of Amazon's with a metadata service that may be asked."""
    with suppress(OSError):
        vendor = _VENDOR.read_text(encoding="utf-8", errors="replace").strip()
        return vendor == "Amazon EC2" and os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true"
    return False


async def metadata(base: str = METADATA) -> Sequence[Result]:
    """The metadata service, from which an instance role's credentials come, answers over IPv6."""
    # EC2 user guide, 'Use the Instance Metadata Service': a session's token comes first.
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.put(f"{base}/latest/api/token", headers=headers) as response:
                why = "" if response.status == 200 else f"it answers with {response.status}"
        except TimeoutError:
            why = f"no answer within {_SECONDS:.0f} s"
        except (aiohttp.ClientError, OSError) as error:
            why = str(error)
    if not why:
        return [Result("metadata", State.OK, "the metadata service answers over IPv6")]
    text = f"the metadata service does not answer over IPv6 ({why}): an instance role cannot be had there"
    mend = (
        "aws ec2 modify-instance-metadata-options --instance-id ID --http-protocol-ipv6 enabled"
        " --http-endpoint enabled (Nitro instances)"
    )
    return [Result("metadata", State.WARNING, text, mend)]


async def time_service(server: tuple[str, int] = TIME_SERVER) -> Sequence[Result]:
    """Our clock is that of Amazon's time service."""
    try:
        async with asyncio.timeout(_SECONDS):
            offset = await _offset(server)
    except (TimeoutError, OSError, ValueError) as error:
        text = f"the time service [{server[0]}] does not answer: {error or 'nothing in time'}"
        mend = f"server {server[0]} prefer iburst, in /etc/chrony/sources.d/zotshelf.sources"
        return [Result("clock", State.WARNING, text, mend)]
    return [clock_result("the time service's", offset)]


async def _offset(server: tuple[str, int]) -> float:
    """Return the seconds to add to our clock. Raises OSError, and ValueError for what is no answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        await loop.sock_connect(asking, server)
        begun = time.time()
        await loop.sock_sendall(asking, _REQUEST)
        answer = await loop.sock_recv(asking, 1024)
        ended = time.time()
    stamp = int.from_bytes(answer[_TRANSMITTED])
    if len(answer) < len(_REQUEST) or not stamp:
        raise ValueError("it says nothing that is a time")
    return stamp / 2**32 - _SINCE_1900 - (begun + ended) / 2
