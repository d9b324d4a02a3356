"""What the journal's records add up to, and the rules of locks (RFC 4918 sections 6 and 7): pure.

Times are seconds since 1970 by the store's own clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

from app.path import DavPath

SKEW_SECONDS: Final = 3.0
"""How far apart any two servers' ideas of the store's time may be.

A lock's owner loses it when it expires; others can have it only so much later.
"""

REST_AFTER_SECONDS: Final = 60.0

Change = dict[str, Any]
"""One change of state as it stands in a record, in JSON's types."""


class Scope(Enum):
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class Touch(NamedTuple):
    """A resource that a request changes; `deep` when all below it is changed too."""

    path: DavPath
    deep: bool = False

    def overlaps(self, other: Touch) -> bool:
        return (
            self.path == other.path
            or (self.deep and self.path.contains(other.path))
            or (other.deep and other.path.contains(self.path))
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """A write lock. `owner` is the XML that the client gave, `seconds` the granted time-out."""

    token: str
    path: DavPath
    deep: bool
    scope: Scope
    owner: str
    user: str
    seconds: int
    expires: float

    @property
    def region(self) -> Touch:
        return Touch(self.path, self.deep)

    def covers(self, path: DavPath) -> bool:
        return self.path == path or (self.deep and self.path.contains(path))


class Locked(Exception):
    """A lock stands in the way; `paths` are what it was taken on."""

    def __init__(self, paths: Collection[DavPath]) -> None:
        super().__init__("locked")
        self.paths = tuple(paths)


class WriteUnderWay(Exception):
    """A write that had begun before stands in the way of a lock; it will soon be over."""


@dataclass(slots=True)
class State:
    """All locks, writes under way and dead properties of one root."""

    locks: dict[str, Lock] = field(default_factory=dict)
    writes: dict[str, tuple[tuple[Touch, ...], float]] = field(default_factory=dict)
    """By an id of its own, what each write touches and when it is given up for dead."""
    props: dict[DavPath, dict[str, str]] = field(default_factory=dict)
    """By path, the dead properties: `{namespace}local` to the whole element as XML."""
    at_rest: bool = True
    """Whether servers may trust for a while that there are no locks, and write without a record."""
    heard: bool = False
    """Whether every server has heard of the end of the last rest: a lock has been granted since."""
    wakes: int = 0
    """How many rests have ended."""
    fills: int = 0
    """How many times the first of the properties was set."""
    locks_changed: float = 0.0

    def live_locks(self, now: float) -> Iterator[Lock]:
        """Yield the locks that still bind others."""
        return (lock for lock in self.locks.values() if lock.expires + SKEW_SECONDS > now)

    def locks_on(self, path: DavPath, now: float) -> list[Lock]:
        """Return the locks that bind `path`, its own and inherited ones."""
        return [lock for lock in self.live_locks(now) if lock.covers(path)]

    def check_write(
        self, touches: Iterable[Touch], tokens: Collection[str], user: str, now: float
    ) -> list[DavPath]:
        """See whether `user`, submitting `tokens`, may change what is touched.

        Returns the locked members below deep touches, which the tokens do not open. Raises Locked
        when the touched resources themselves are.
        """
        live = list(self.live_locks(now))

        def opened(path: DavPath) -> bool:
            # One who shares a lock needs none of the others' tokens.
            covering = [lock for lock in live if lock.covers(path)]
            return not covering or any(_holds(lock, tokens, user, now) for lock in covering)

        inside: list[DavPath] = []
        for touch in touches:
            if not opened(touch.path):
                raise Locked([lock.path for lock in live if lock.covers(touch.path)])
            if touch.deep:
                inside += [lock.path for lock in live if touch.path.contains(lock.path)]
        return [path for path in dict.fromkeys(inside) if not opened(path)]

    def check_lock(self, wanted: Lock, now: float) -> None:
        """See whether the lock can be granted. Raises Locked, or WriteUnderWay."""
        standing = [
            lock.path
            for lock in self.live_locks(now)
            if lock.region.overlaps(wanted.region) and Scope.EXCLUSIVE in (lock.scope, wanted.scope)
        ]
        if standing:
            raise Locked(standing)
        for touches, expires in self.writes.values():
            if expires + SKEW_SECONDS > now and any(touch.overlaps(wanted.region) for touch in touches):
                raise WriteUnderWay

    def litter(self, now: float) -> list[Change]:
        """Return the changes that clear away what has expired."""
        dead = [lock.token for lock in self.locks.values() if lock.expires + SKEW_SECONDS <= now]
        lost = [name for name, (_, expires) in self.writes.items() if expires + SKEW_SECONDS <= now]
        return [{"unlock": token} for token in dead] + [{"written": name} for name in lost]

    def may_rest(self, now: float) -> bool:
        """Tell whether there have been no locks for so long that servers may trust there are none."""
        return not self.at_rest and not self.locks and now - self.locks_changed > REST_AFTER_SECONDS

    def affects(self, path: DavPath) -> bool:
        """Tell whether there are locks or properties at or below `path`."""
        return any(_within(path, known) for known in self.props) or any(
            _within(path, lock.path) for lock in self.locks.values()
        )

    def apply(self, change: Change, at: float) -> None:
        """Take in one change that was made `at` that time."""
        ((kind, value),) = change.items()
        match kind:
            case "lock":
                lock = _lock(value)
                self.locks[lock.token] = lock
                self.locks_changed = at
                self.heard = True
            case "unlock":
                self.locks.pop(value, None)
                self.locks_changed = at
            case "write":
                touches = tuple(Touch(path_of(path), deep) for path, deep in value["touches"])
                self.writes[value["name"]] = touches, value["expires"]
            case "written":
                self.writes.pop(value, None)
            case "wake":
                self.at_rest = self.heard = False
                self.wakes += 1
                self.locks_changed = at
            case "rest":
                self.at_rest = True
            case "props":
                if not self.props:
                    self.fills += 1
                self._change_props(path_of(value["path"]), value["set"], value["remove"])
            case "gone":
                self._forget(path_of(value["path"]), tuple(map(path_of, value["keep"])))
            case "copied":
                self._copy_props(
                    path_of(value["from"]),
                    path_of(value["to"]),
                    tuple(map(path_of, value["keep"])),
                    deep=value["deep"],
                )
            case _:
                raise ValueError(f"a record of a kind that this version does not know: {kind}")

    def _change_props(self, path: DavPath, new: Mapping[str, str], removed: Iterable[str]) -> None:
        props = self.props.setdefault(path, {})
        props.update(new)
        for name in removed:
            props.pop(name, None)
        if not props:
            del self.props[path]

    def _forget(self, path: DavPath, kept: tuple[DavPath, ...]) -> None:
        def is_gone(known: DavPath) -> bool:
            # What was kept has kept the collections it lies in.
            return _within(path, known) and not any(
                _within(one, known) or known.contains(one) for one in kept
            )

        for known in list(filter(is_gone, self.props)):
            del self.props[known]
        for lock in [lock for lock in self.locks.values() if is_gone(lock.path)]:
            del self.locks[lock.token]

    def _copy_props(
        self, source: DavPath, target: DavPath, failed: tuple[DavPath, ...], *, deep: bool
    ) -> None:
        """Give the target the source's properties, save `failed`, which stayed as it was.

        Where nothing failed it has no others; else what the source lacks is still there.
        """
        copied = self.copied_props(source, target, deep=deep)
        if not failed:
            for known in [known for known in self.props if _within(target, known)]:
                del self.props[known]
        for known, props in copied.items():
            if not any(_within(one, known) for one in failed):
                self.props[known] = props

    def copied_props(self, source: DavPath, target: DavPath, *, deep: bool) -> dict[DavPath, dict[str, str]]:
        """Return the properties that a copy of the source at the target would have."""
        depth = len(source.segments)
        return {
            DavPath(target.segments + known.segments[depth:]): dict(props)
            for known, props in self.props.items()
            if known == source or (deep and source.contains(known))
        }

    def dump(self) -> dict[str, Any]:
        """Return the whole state in JSON's types."""
        return {
            "changes": [
                *({"lock": dump_lock(lock)} for lock in self.locks.values()),
                *(
                    {"write": dump_write(name, touches, expires)}
                    for name, (touches, expires) in self.writes.items()
                ),
                *(
                    {"props": {"path": list(path.segments), "set": props, "remove": []}}
                    for path, props in self.props.items()
                ),
            ],
            **{name: getattr(self, name) for name in _MARKS},
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> State:
        """Raises ValueError, LookupError or TypeError for what is no state."""
        state = cls()
        for change in dumped["changes"]:
            state.apply(change, 0.0)
        # Applying has set these; what was dumped counts.
        for name in _MARKS:
            setattr(state, name, dumped[name])
        return state


_MARKS: Final = ("at_rest", "heard", "wakes", "fills", "locks_changed")


def _within(path: DavPath, other: DavPath) -> bool:
    return path == other or path.contains(other)


def _holds(lock: Lock, tokens: Collection[str], user: str, now: float) -> bool:
    return lock.token in tokens and lock.user == user and lock.expires > now


def path_of(segments: Iterable[str]) -> DavPath:
    return DavPath(tuple(segments))


def dump_write(name: str, touches: Iterable[Touch], expires: float) -> dict[str, Any]:
    return {
        "name": name,
        "touches": [[list(touch.path.segments), touch.deep] for touch in touches],
        "expires": expires,
    }


def dump_lock(lock: Lock) -> dict[str, Any]:
    return {
        "token": lock.token,
        "path": list(lock.path.segments),
        "deep": lock.deep,
        "scope": lock.scope.value,
        "owner": lock.owner,
        "user": lock.user,
        "seconds": lock.seconds,
        "expires": lock.expires,
    }


def _lock(value: Mapping[str, Any]) -> Lock:
    return Lock(
        token=value["token"],
        path=path_of(value["path"]),
        deep=value["deep"],
        scope=Scope(value["scope"]),
        owner=value["owner"],
        user=value["user"],
        seconds=value["seconds"],
        expires=value["expires"],
    )
