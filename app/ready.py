"""Whether requests can be answered well now: the store is asked, one question at a time, not too often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.errors import problem_of
from app.storage.base import StorageError

logger: Final = logging.getLogger("zotshelf.ready")

CACHE_SECONDS: Final = 5.0
"""How long an answer holds, whatever it says."""
ANSWER_SECONDS: Final = 2.0
"""A store that takes longer is not ready."""

_LATE: Final = "The store takes too long now."


class Readiness:
    """Asks by `probe`, which raises StorageError where the store cannot be used; `clock` gives seconds.

    The owner calls `aclose` at the end.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._fault = ""
        """What is wrong, in words for anybody."""
        self._known_until = float("-inf")
        self._question: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Response:  # noqa: ARG002  # Starlette calls it with one
        """Answer 200, or 503 with the reason."""
        fault = await self.fault()
        headers = {"cache-control": "no-store"}
        if fault:
            headers["retry-after"] = f"{CACHE_SECONDS:.0f}"
        return PlainTextResponse(f"{fault or 'ready'}\n", 503 if fault else 200, headers)

    async def fault(self) -> str:
        """Return what is wrong with the store, empty if nothing is."""
        if self._clock() < self._known_until:
            return self._fault
        if self._question is None:
            self._question = asyncio.create_task(self._ask())
        question = self._question
        await asyncio.wait([question], timeout=ANSWER_SECONDS)
        if not question.done():
            # A thread that waits for a disk cannot be called back.
            self._know(_LATE, "the storage does not answer")
        return self._fault

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._probe()
        except TimeoutError:
            self._know(_LATE, "the storage does not answer")
        except StorageError as error:
            self._know(problem_of(error).text, f"{type(error).__name__}: {error}")
        except Exception as error:
            logger.exception("the storage could not be asked in a way nobody foresaw; please report it")
            self._know(problem_of(error).text, type(error).__name__)
        else:
            self._know("", "")
        finally:
            self._question = None

    def _know(self, fault: str, detail: str) -> None:
        """Keep what was found out; log it where it is something new."""
        self._known_until = self._clock() + CACHE_SECONDS
        if fault and not self._fault:
            logger.error("not ready: %s", detail)
        elif self._fault and not fault:
            logger.info("ready again")
        self._fault = fault

    async def aclose(self) -> None:
        """Break off the question that is being asked."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)
