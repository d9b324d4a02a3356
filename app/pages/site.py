"""The pages themselves: from what stands behind `/-/` to an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from starlette.types import Scope

from app.answer import Answer
from app.client_address import ClientAddresses
from app.errors import problem_of
from app.library.check import Problem, Report, check
from app.library.elsewhere import Elsewhere, elsewhere
from app.library.names import COLLECTION
from app.library.zip_directory import BadZip
from app.pages.chart import bar
from app.pages.headers import page_headers
from app.pages.known import KnownZips
from app.pages.opening import MAIN, choose, member_answer, open_zip
from app.pages.overview import Overview, all_kinds, overview
from app.pages.public_url import public_url
from app.pages.rendering import page, render, static_answer
from app.pages.shared_work import Progress, SharedWork, Work
from app.path import DavPath
from app.storage.base import NotACollection, NotFound, Storage, StorageError, Storages

logger: Final = logging.getLogger("zotshelf")

MOST_NAMED: Final = 200
"""So many files with a problem are named on the page."""

_MORE: Final = "<!-- more -->"
_LIBRARY: Final = DavPath((COLLECTION,), slash=True)


class _Checked(NamedTuple):
    """What the last check of a library found."""

    when: int
    problems: int


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request for a page."""

    scope: Scope
    path: DavPath
    """Below `/-/`."""
    storage: Storage

    @property
    def user(self) -> str:
        return str(self.scope["user"])

    @property
    def root(self) -> str:
        """The way back to `/-/`, so that no link depends on what proxies make of the address."""
        depth = len(self.path.segments) - (not self.path.slash)
        return "../" * max(depth, 0) or "./"


class Site:
    """All pages of one server; `base` is the URL path of the WebDAV root. The owner calls `aclose`."""

    def __init__(self, storages: Storages, base: str, addresses: ClientAddresses) -> None:
        self._storages = storages
        self._base = base
        self._addresses = addresses
        self._known = KnownZips()
        self._work = SharedWork()
        self._checked: dict[Storage, _Checked] = {}
        # A check, or a look into every zip, asks the store for as much as it can give.
        self._heavy = asyncio.Lock()

    async def aclose(self) -> None:
        await self._work.aclose()

    async def answer(self, scope: Scope, path: DavPath) -> Answer:
        """Answer GET or HEAD; what fails becomes a page that says so."""
        visit = _Visit(scope, path, self._storages.for_user(scope["user"]))
        try:
            return await self._answer(visit)
        except BadZip as error:
            return self._page(visit, 404, "failed.html", text=f"This attachment cannot be opened: {error}.")
        except Exception as error:
            problem = problem_of(error)
            if problem.status >= 500:
                _log(scope, error)
            return self._page(visit, problem.status, "failed.html", text=problem.text)

    async def _answer(self, visit: _Visit) -> Answer:
        match visit.path.segments:
            case ():
                return await self._overview(visit)
            case ("check",) if not visit.path.slash:
                return self._streamed(visit, "Check", self._check, self._check_outcome)
            case ("kinds",) if not visit.path.slash:
                return self._streamed(visit, "Kinds of files", self._kinds, self._kinds_outcome)
            case ("static", name) if not visit.path.slash:
                return static_answer(name)
            case ("item", key) if visit.path.slash:
                return await self._item(visit, key)
            case ("item", key, which, _name) if not visit.path.slash:
                entry, members = await open_zip(visit.storage, _LIBRARY, key)
                member = choose(entry, members, which)
                return await member_answer(visit.storage, entry, member, head=visit.scope["method"] == "HEAD")
        raise NotFound(visit.path)

    def _page(self, visit: _Visit, status: int, template: str, **values: Any) -> Answer:
        return page(status, template, root=visit.root, user=visit.user, **values)

    async def _overview(self, visit: _Visit) -> Answer:
        async def do(progress: Progress) -> tuple[Overview | None, Elsewhere | None]:
            found = await overview(visit.storage, _LIBRARY, self._known, progress)
            return found, None if found else await elsewhere(visit.storage)

        async with self._work.join(("overview", visit.storage), do) as work:
            found, other = await work.result()
        return self._page(
            visit,
            200,
            "overview.html",
            url=public_url(visit.scope, self._base, proxied=self._addresses.is_proxied(visit.scope)),
            library=found,
            elsewhere=other,
            segments=bar(found.kinds) if found and found.kinds else [],
            checked=self._checked.get(visit.storage),
            main=MAIN,
        )

    async def _item(self, visit: _Visit, key: str) -> Answer:
        entry, members = await open_zip(visit.storage, _LIBRARY, key)
        return self._page(visit, 200, "item.html", key=key, entry=entry, members=members)

    def _streamed(
        self,
        visit: _Visit,
        title: str,
        do: Callable[[Storage, Progress], Awaitable[Any]],
        outcome: Callable[[_Visit, Any], str],
    ) -> Answer:
        """Return a page that tells how far the work is until it shows what came out."""

        async def do_alone(progress: Progress) -> Any:
            async with self._heavy:
                progress.waiting = False
                return await do(visit.storage, progress)

        async def stream() -> AsyncGenerator[bytes, None]:
            whole = render("working.html", title=title, root=visit.root, user=visit.user, more=_MORE)
            begin, _, end = whole.partition(_MORE)
            yield begin.encode()
            async with self._work.join((title, visit.storage), do_alone) as work:
                async for progress in work.steps():
                    yield render("step.html", progress=progress).encode()
                yield (await self._outcome(visit, work, outcome)).encode()
            yield end.encode()

        answer = stream()
        # nginx would hold the steps back.
        headers = [*page_headers(), (b"x-accel-buffering", b"no")]
        return Answer(200, headers, stream=answer, close=answer.aclose)

    async def _outcome(self, visit: _Visit, work: Work[Any], outcome: Callable[[_Visit, Any], str]) -> str:
        try:
            return outcome(visit, await work.result())
        except (NotFound, NotACollection):
            return render("failure.html", text="There is no library yet.")
        except Exception as error:
            _log(visit.scope, error)
            return render("failure.html", text=problem_of(error).text)

    async def _check(self, storage: Storage, progress: Progress) -> Report:
        report = await check(storage, _LIBRARY, listed=progress.add_listed, checked=progress.add_done)
        self._checked[storage] = _Checked(int(time.time()), len(report.findings))
        return report

    def _check_outcome(self, visit: _Visit, report: Report) -> str:
        groups: dict[Problem, list[tuple[str, str]]] = {}
        for finding in report.findings[:MOST_NAMED]:
            groups.setdefault(finding.problem, []).append((finding.entry.path.name, finding.detail))
        return render(
            "check.html",
            root=visit.root,
            report=report,
            groups=groups,
            left=max(0, len(report.findings) - MOST_NAMED),
        )

    async def _kinds(self, storage: Storage, progress: Progress) -> Mapping[str, Any]:
        return await all_kinds(storage, _LIBRARY, self._known, progress)

    def _kinds_outcome(self, visit: _Visit, kinds: Mapping[str, Any]) -> str:
        return render("kinds.html", root=visit.root, segments=bar(kinds), kinds=kinds)


def _log(scope: Scope, error: Exception) -> None:
    path = scope["raw_path"].decode("latin-1")
    if isinstance(error, StorageError):
        logger.error("%s %s: %s: %s", scope["method"], path, type(error).__name__, error)
    else:
        logger.exception("%s failed in a way nobody foresaw; please report it", scope["method"])
