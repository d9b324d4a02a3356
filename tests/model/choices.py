"""What a client might ask next: any request that the model understands, the likely ones more often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.model.judge import Judge
from tests.model.requests import EVERYTHING, Request
from tests.model.world import FOLDER, Path

NAMES = ("a", "b ü", "c#%41")
"""One that is plain, and two that must be encoded."""
SIZES = (0, 1, 7, 1000, 70_000)
LARGE = 300_000
"""Beyond what is read whole before its answer begins."""


class Chooser:
    """Chooses requests with the dice it is given, knowing what the judge knows."""

    def __init__(
        self,
        judge: Judge,
        dice: Random,
        sizes: Sequence[int] = (*SIZES, LARGE),
        label: int = 0,
        *,
        kinds_apart: bool = False,
    ) -> None:
        """With `kinds_apart` no file is to take a collection's place by COPY or MOVE, nor the reverse.

        S3 has nothing that could do that in one step: where it is broken off, both are there.
        """
        self._kinds_apart = kinds_apart
        self._judge = judge
        self.dice = dice
        self._sizes = sizes
        self._label = label
        self._stored = 0

    def content(self) -> bytes:
        """Return a content that nobody else has, of one of the sizes."""
        self._stored += 1
        size = self.dice.choice(self._sizes)
        return Random(f"{self._label} {self._stored}").randbytes(size)

    def path(self, *, deepest: int = 2) -> Path:
        depth = self.dice.choice((1, 1, *range(1, deepest + 1)))
        return tuple(self.dice.choice(NAMES) for _ in range(depth))

    def existing(self) -> Path:
        """Return a path at which there is perhaps something."""
        found = sorted({path for world in self._judge.worlds for path in world.nodes if path})
        if found and self.dice.random() < 0.85:
            return self.dice.choice(found)
        return self.path()

    def _etag(self, path: Path) -> str:
        """Return an entity tag that the file has, or had, or never had."""
        known = sorted(self._judge.etags.get(path, ()))
        return self.dice.choice([*known, *known[-1:], '"0-0-0"'])

    def _tokens(self, *paths: Path) -> tuple[tuple[Path, str], ...]:
        """Return the tokens that open these paths, in most cases."""
        world = next(iter(self._judge.worlds))
        touching = [
            lock
            for lock in sorted(world.locks, key=lambda lock: lock.token or "")
            if any(lock.covers(path) or path == lock.path[: len(path)] for path in paths)
        ]
        chosen = [(lock.path, lock.token) for lock in touching if lock.token and self.dice.random() < 0.7]
        return tuple(chosen)

    def get(self) -> Request:
        path = self.existing()
        request: dict[str, object] = {}
        match self.dice.randrange(6):
            case 0:
                first = self.dice.choice((0, 1, 5, 900, 250_000))
                last = self.dice.choice((None, first, first + 5, first + 100_000))
                request["range"] = (first, last)
                if self.dice.random() < 0.5:
                    request["if_range"] = self._etag(path)
            case 1:
                request["if_none_match"] = self.dice.choice((EVERYTHING, self._etag(path)))
            case 2:
                request["if_match"] = self.dice.choice((EVERYTHING, self._etag(path)))
        return Request("GET", path, **request)  # type: ignore[arg-type]

    def head(self) -> Request:
        return Request("HEAD", self.existing())

    def propfind(self) -> Request:
        path = self.dice.choice(((), self.existing()))
        return Request("PROPFIND", path, depth=self.dice.choice("011"))

    def put(self) -> Request:
        path = self.existing() if self.dice.random() < 0.4 else self.path()
        content, tokens = self.content(), self._tokens(path, path[:-1])
        chunked = self.dice.random() < 0.2
        match self.dice.randrange(6):
            case 0:
                condition = self.dice.choice((EVERYTHING, self._etag(path)))
                return Request("PUT", path, content, if_match=condition, tokens=tokens, chunked=chunked)
            case 1:
                condition = self.dice.choice((EVERYTHING, self._etag(path)))
                return Request("PUT", path, content, if_none_match=condition, tokens=tokens, chunked=chunked)
        return Request("PUT", path, content, tokens=tokens, chunked=chunked)

    def mkcol(self) -> Request:
        path = self.path()
        return Request("MKCOL", path, tokens=self._tokens(path, path[:-1]))

    def delete(self) -> Request:
        path = self.existing()
        condition = self._etag(path) if self.dice.random() < 0.2 else ""
        return Request("DELETE", path, if_match=condition, tokens=self._tokens(path, path[:-1]))

    def copy(self) -> Request | None:
        source, target = self.existing(), self._target()
        if self._kinds_apart and self._mixes_kinds(source, target):
            return None
        depth = "0" if self.dice.random() < 0.1 else ""
        tokens = self._tokens(target, target[:-1])
        overwrite = self.dice.random() < 0.7
        return Request("COPY", source, target=target, depth=depth, overwrite=overwrite, tokens=tokens)

    def move(self) -> Request | None:
        source, target = self.existing(), self._target()
        if self._kinds_apart and self._mixes_kinds(source, target):
            return None
        tokens = self._tokens(source, source[:-1], target, target[:-1])
        return Request("MOVE", source, target=target, overwrite=self.dice.random() < 0.7, tokens=tokens)

    def _mixes_kinds(self, source: Path, target: Path) -> bool:
        """Tell whether a file may take a collection's place, or the other way round."""
        return any(
            (node == FOLDER) != (new[way] == FOLDER)
            for world in self._judge.worlds
            for new in (world.below(source),)
            for way, node in world.below(target).items()
            if way in new
        )

    def _target(self) -> Path:
        return self.existing() if self.dice.random() < 0.4 else self.path()

    def lock(self) -> Request:
        path = self.existing() if self.dice.random() < 0.7 else self.path()
        return Request(
            "LOCK",
            path,
            depth=self.dice.choice(("", "0", "infinity")),
            exclusive=self.dice.random() < 0.7,
            tokens=self._tokens(path[:-1]),
        )

    def refresh(self) -> Request | None:
        path, tokens = self._a_lock()
        return Request("REFRESH", path, tokens=tokens) if tokens else None

    def unlock(self) -> Request | None:
        path, tokens = self._a_lock()
        if not tokens:
            return None
        if self.dice.random() < 0.2:
            path = self.existing()
        return Request("UNLOCK", path, token=tokens[0][1])

    def _a_lock(self) -> tuple[Path, tuple[tuple[Path, str], ...]]:
        world = next(iter(self._judge.worlds))
        known = sorted((lock.path, lock.token) for lock in world.locks if lock.token)
        if not known:
            return (), ()
        path, token = self.dice.choice(known)
        return path, ((path, token),)

    def everything(self) -> list[Request]:
        """Return the reads that settle what is there, wherever anything may be."""
        paths = sorted({path for world in self._judge.worlds for path in world.nodes})
        folders = {
            path for world in self._judge.worlds for path, node in world.nodes.items() if node == FOLDER
        }
        return [
            *(Request("PROPFIND", path, depth="1") for path in sorted(folders)),
            *(Request("GET", path) for path in paths if path),
        ]


Choice = Callable[[], Request | None]
