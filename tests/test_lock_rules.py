"""Which locks exclude each other and what they forbid (RFC 4918 sections 6 and 7), as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.journal.state import (
    SKEW_SECONDS,
    Lock,
    Locked,
    Scope,
    State,
    Touch,
    WriteUnderWay,
    dump_lock,
    dump_write,
)
from app.path import DavPath
from tests.storages import path

EXCLUSIVE, SHARED = Scope.EXCLUSIVE, Scope.SHARED
ZERO, INFINITY = False, True
NOW = 1000.0


def lock(
    where: str, depth: bool = ZERO, scope: Scope = EXCLUSIVE, *, user: str = "ann", expires: float = NOW + 60
) -> Lock:
    return Lock(f"token of {where}", path(where), depth, scope, "", user, 60, expires)


def holding(*locks: Lock) -> State:
    state = State()
    state.apply({"wake": True}, NOW)
    for one in locks:
        state.apply({"lock": dump_lock(one)}, NOW)
    return state


@pytest.mark.parametrize(
    ("held", "held_depth", "wanted", "wanted_depth", "overlap"),
    [
        pytest.param("a", ZERO, "a", ZERO, True, id="same"),
        pytest.param("a", INFINITY, "a", INFINITY, True, id="same, both deep"),
        pytest.param("a", ZERO, "a/b", ZERO, False, id="member below a shallow one"),
        pytest.param("a", ZERO, "a/b", INFINITY, False, id="deep member below a shallow one"),
        pytest.param("a", INFINITY, "a/b", ZERO, True, id="member below a deep one"),
        pytest.param("a", INFINITY, "a/b/c", ZERO, True, id="far below a deep one"),
        pytest.param("a/b", ZERO, "a", ZERO, False, id="shallow above a member"),
        pytest.param("a/b", ZERO, "a", INFINITY, True, id="deep above a member"),
        pytest.param("a/b/c", INFINITY, "a", INFINITY, True, id="deep far above"),
        pytest.param("a/b", INFINITY, "a/c", INFINITY, False, id="siblings"),
        pytest.param("a", INFINITY, "ab", INFINITY, False, id="names that begin alike"),
        pytest.param("", INFINITY, "a", ZERO, True, id="below the deep root"),
        pytest.param("", ZERO, "a", ZERO, False, id="below the shallow root"),
        pytest.param("a", ZERO, "", INFINITY, True, id="the deep root above"),
    ],
)
@pytest.mark.parametrize(
    ("scopes", "compatible"),
    [
        pytest.param((EXCLUSIVE, EXCLUSIVE), False, id="exclusive, exclusive"),
        pytest.param((EXCLUSIVE, SHARED), False, id="exclusive, shared"),
        pytest.param((SHARED, EXCLUSIVE), False, id="shared, exclusive"),
        pytest.param((SHARED, SHARED), True, id="shared, shared"),
    ],
)
def test_locks_exclude_each_other_where_they_overlap_unless_both_are_shared(
    held: str,
    held_depth: bool,
    wanted: str,
    wanted_depth: bool,
    overlap: bool,
    scopes: tuple[Scope, Scope],
    compatible: bool,
) -> None:
    state = holding(lock(held, held_depth, scopes[0]))
    asked = replace(lock(wanted, wanted_depth, scopes[1]), token="another")
    if overlap and not compatible:
        with pytest.raises(Locked) as refused:
            state.check_lock(asked, NOW)
        assert refused.value.paths == (path(held),)
    else:
        state.check_lock(asked, NOW)


PUT_NEW = (Touch(path("a/new")), Touch(path("a")))
PUT_OLD = (Touch(path("a/old")),)
DELETE_OLD = (Touch(path("a/old"), True), Touch(path("a")))


@pytest.mark.parametrize(
    ("held", "depth", "touches", "refused"),
    [
        pytest.param("a", ZERO, PUT_NEW, True, id="a new member of a shallow locked collection"),
        pytest.param("a", ZERO, PUT_OLD, False, id="a member of it that stays"),
        pytest.param("a", ZERO, DELETE_OLD, True, id="a member of it that goes"),
        pytest.param("a", INFINITY, PUT_NEW, True, id="a new member of a deep locked collection"),
        pytest.param("a", INFINITY, PUT_OLD, True, id="a member of that"),
        pytest.param("a/old", ZERO, PUT_OLD, True, id="the locked resource itself"),
        pytest.param("a/old", ZERO, PUT_NEW, False, id="its new sibling"),
        pytest.param("a/old", ZERO, DELETE_OLD, True, id="its deletion"),
        pytest.param("", ZERO, PUT_NEW, False, id="far below a shallow locked root"),
        pytest.param("", INFINITY, PUT_OLD, True, id="far below a deep locked root"),
    ],
)
def test_a_write_needs_the_token_of_what_covers_it(
    held: str, depth: bool, touches: tuple[Touch, ...], refused: bool
) -> None:
    state = holding(lock(held, depth))
    token = f"token of {held}"
    assert state.check_write(touches, {token}, "ann", NOW) == []
    for tokens, user in [((), "ann"), ({"another"}, "ann"), ({token}, "bob")]:
        if refused:
            with pytest.raises(Locked):
                state.check_write(touches, tokens, user, NOW)
        else:
            assert state.check_write(touches, tokens, user, NOW) == []


@pytest.mark.parametrize("tokens", [(), ("token of a/b/c",), ("token of a/b/c", "token of a/d")])
def test_locked_members_below_are_named_unless_their_tokens_are_shown(tokens: tuple[str, ...]) -> None:
    state = holding(lock("a/b/c"), lock("a/d", INFINITY), lock("other"))
    inside = state.check_write([Touch(path("a"), True)], tokens, "ann", NOW)
    assert {f"token of {'/'.join(found.segments)}" for found in inside} | set(tokens) == {
        "token of a/b/c",
        "token of a/d",
    }


def test_any_holder_of_a_shared_lock_may_write() -> None:
    mine, theirs = lock("a", scope=SHARED), replace(lock("a", scope=SHARED, user="bob"), token="theirs")
    state = holding(mine, theirs)
    assert state.check_write([Touch(path("a"))], {"theirs"}, "bob", NOW) == []
    with pytest.raises(Locked):
        state.check_write([Touch(path("a"))], {"theirs"}, "ann", NOW)
    root = [Touch(DavPath(), True)]
    assert state.check_write(root, {mine.token}, "ann", NOW) == []
    assert state.check_write(root, {mine.token}, "bob", NOW) == [path("a")]


@pytest.mark.parametrize(
    ("later", "owner_may_write", "others_may_lock"),
    [
        pytest.param(-0.01, True, False, id="before"),
        pytest.param(0.0, False, False, id="at the end"),
        pytest.param(SKEW_SECONDS - 0.01, False, False, id="within the skew"),
        pytest.param(SKEW_SECONDS, False, True, id="after the skew"),
    ],
)
def test_a_lock_ends_for_its_owner_before_it_ends_for_others(
    later: float, owner_may_write: bool, others_may_lock: bool
) -> None:
    held = lock("a", expires=NOW)
    state = holding(held)

    def may_write(tokens: tuple[str, ...]) -> bool:
        try:
            state.check_write([Touch(path("a"))], tokens, "ann", NOW + later)
        except Locked:
            return False
        return True

    def may_lock() -> bool:
        try:
            state.check_lock(replace(held, token="another"), NOW + later)
        except Locked:
            return False
        return True

    assert may_write((held.token,)) is (owner_may_write or others_may_lock)
    assert may_write(()) is others_may_lock
    assert may_lock() is others_may_lock
    assert (state.litter(NOW + later) == [{"unlock": held.token}]) is others_may_lock


@pytest.mark.parametrize(
    ("touch", "wanted", "depth", "waits"),
    [
        pytest.param(Touch(path("a/b")), "a/b", ZERO, True, id="the same"),
        pytest.param(Touch(path("a/b")), "a", INFINITY, True, id="a deep lock above"),
        pytest.param(Touch(path("a/b")), "a", ZERO, False, id="a shallow lock above"),
        pytest.param(Touch(path("a"), True), "a/b", ZERO, True, id="a lock below a deep write"),
        pytest.param(Touch(path("a")), "a/b", ZERO, False, id="a lock below a shallow write"),
        pytest.param(Touch(path("a/b")), "a/c", INFINITY, False, id="a sibling"),
    ],
)
@pytest.mark.parametrize("scope", list(Scope), ids=lambda scope: scope.value)
def test_a_lock_waits_for_writes_under_way_until_they_are_given_up(
    touch: Touch, wanted: str, depth: bool, waits: bool, scope: Scope
) -> None:
    state = holding()
    state.apply({"write": dump_write("w", [touch], NOW)}, NOW)
    asked = lock(wanted, depth, scope)
    if waits:
        with pytest.raises(WriteUnderWay):
            state.check_lock(asked, NOW + SKEW_SECONDS - 0.01)
    else:
        state.check_lock(asked, NOW)
    state.check_lock(asked, NOW + SKEW_SECONDS)
    assert state.litter(NOW + SKEW_SECONDS) == [{"written": "w"}]


def props(*where: str) -> State:
    state = State()
    for one in where:
        names = {f"{{x}}of {one}": "<x/>"}
        state.apply({"props": {"path": list(path(one).segments), "set": names, "remove": []}}, NOW)
    return state


def with_props(state: State) -> dict[str, str]:
    """Return the paths that have properties, each with the name of its one property."""
    return {"/".join(where.segments): next(iter(names))[6:] for where, names in state.props.items()}


def segments(*where: str) -> list[list[str]]:
    return [list(path(one).segments) for one in where]


def test_a_deletion_takes_properties_and_locks_along() -> None:
    state = props("a", "a/b", "ab", "c")
    state.apply({"lock": dump_lock(lock("a/b"))}, NOW)
    state.apply({"lock": dump_lock(lock("c"))}, NOW)
    state.apply({"gone": {"path": ["a"], "keep": []}}, NOW)
    assert with_props(state) == {"ab": "ab", "c": "c"}
    assert [found.path for found in state.locks.values()] == [path("c")]


def test_what_a_deletion_left_keeps_its_properties_and_so_do_the_collections_around_it() -> None:
    state = props("a", "a/b", "a/b/kept", "a/b/kept/c", "a/b/d", "a/e")
    state.apply({"lock": dump_lock(lock("a"))}, NOW)
    state.apply({"gone": {"path": ["a"], "keep": segments("a/b/kept")}}, NOW)
    assert set(with_props(state)) == {"a", "a/b", "a/b/kept", "a/b/kept/c"}
    assert len(state.locks) == 1


@pytest.mark.parametrize(
    ("deep", "failed", "expected"),
    [
        pytest.param(True, (), {"t": "a", "t/b": "a/b"}, id="in place of its own"),
        pytest.param(False, (), {"t": "a"}, id="not the members"),
        pytest.param(
            True,
            ("t/b",),
            {"t": "a", "t/b": "t/b", "t/only here": "t/only here"},
            id="what failed stayed as it was, and nothing else was deleted",
        ),
        pytest.param(True, ("t",), {"t": "t", "t/b": "t/b", "t/only here": "t/only here"}, id="all failed"),
    ],
)
def test_a_copy_gets_the_properties_of_its_source(
    deep: bool, failed: tuple[str, ...], expected: dict[str, str]
) -> None:
    state = props("a", "a/b", "t", "t/b", "t/only here", "tt")
    change = {"from": ["a"], "to": ["t"], "deep": deep, "keep": segments(*failed)}
    state.apply({"copied": change}, NOW)
    assert with_props(state) == {"a": "a", "a/b": "a/b", "tt": "tt"} | expected


def test_a_copy_s_properties_are_its_own() -> None:
    state = props("a")
    state.apply({"copied": {"from": ["a"], "to": ["t"], "deep": True, "keep": []}}, NOW)
    state.apply({"props": {"path": ["t"], "set": {"{x}more": "<y/>"}, "remove": []}}, NOW)
    assert len(state.props[path("a")]) == 1


def test_the_last_property_leaves_nothing() -> None:
    state = props("a")
    state.apply({"props": {"path": ["a"], "set": {}, "remove": ["{x}of a", "{x}never set"]}}, NOW)
    assert state.props == {}


def test_a_state_is_the_same_after_it_was_stored() -> None:
    state = holding(lock("a", INFINITY, SHARED), lock("a/b", expires=NOW + 5))
    state.apply({"write": dump_write("w", [Touch(path("c"), True), Touch(DavPath())], NOW + 9)}, NOW + 1)
    state.apply({"props": {"path": ["ü"], "set": {"{x}p": "<x>\U0001f600</x>"}, "remove": []}}, NOW + 2)
    assert State.load(state.dump()) == state
    state.apply({"unlock": "token of a"}, NOW + 3)
    state.apply({"unlock": "token of a/b"}, NOW + 4)
    assert not state.may_rest(NOW + 64)
    assert state.may_rest(NOW + 64.01)
    state.apply({"rest": True}, NOW + 65)
    assert State.load(state.dump()) == state
    assert not state.may_rest(NOW + 200)
