"""Guessed passwords slow down and block whoever guesses, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from app.throttle import FORGET_SECONDS, LONGEST_BLOCK, MAX_REMEMBERED, Throttle
from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore

HERE, NEAR, FAR = "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(3, clock=clock)


def fail(throttle: Throttle, times: int, user: str = "ann", address: str = HERE, start: int = 0) -> None:
    for number in range(start, start + times):
        throttle.failed(user, address, f"{user} {address} {number}".encode())


def wait(throttle: Throttle, user: str = "ann", address: str = HERE, key: bytes = b"new") -> float:
    return throttle.seconds_to_wait(user, address, key)


def test_a_few_failures_block_nobody(throttle: Throttle) -> None:
    fail(throttle, 3)
    assert wait(throttle) == 0


def test_each_further_failure_blocks_twice_as_long(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 3)
    waits = []
    for number in range(12):
        fail(throttle, 1, start=100 + number)
        waits.append(wait(throttle))
        clock.now += waits[-1]
        assert wait(throttle) == 0
    assert waits == [min(2.0**number, LONGEST_BLOCK) for number in range(12)]


def test_the_same_wrong_header_counts_once(throttle: Throttle) -> None:
    for _ in range(50):
        throttle.failed("ann", HERE, b"an old password that a client has stored")
    assert wait(throttle) == 0


def test_a_64_counts_as_one_and_others_are_left_alone(throttle: Throttle) -> None:
    fail(throttle, 5)
    assert wait(throttle, address=NEAR) > 0
    assert wait(throttle, address=FAR) == 0
    assert wait(throttle, user="bob") == 0


def test_a_header_that_was_good_is_never_kept_waiting(throttle: Throttle) -> None:
    throttle.passed("ann", HERE, b"good")
    fail(throttle, 200)
    assert wait(throttle, key=b"good") == 0
    assert wait(throttle, key=b"new") > 0


def test_a_password_that_was_changed_is_not_good_any_more(throttle: Throttle) -> None:
    throttle.passed("ann", HERE, b"good")
    throttle.failed("ann", HERE, b"good")
    fail(throttle, 5)
    assert wait(throttle, key=b"good") > 0


def test_a_client_that_tries_many_accounts_is_blocked_for_all(throttle: Throttle) -> None:
    for number in range(13):
        fail(throttle, 1, user=f"user-{number}")
    assert wait(throttle, user="somebody else") > 0
    assert wait(throttle, user="somebody else", address=FAR) == 0


def test_clients_that_nobody_names_do_not_block_each_other(throttle: Throttle) -> None:
    for address in ("::1", "local"):
        for number in range(50):
            fail(throttle, 1, user=f"user-{number}", address=address)
        assert wait(throttle, user="somebody else", address=address) == 0


def test_an_account_tried_from_everywhere_waits_where_it_failed(throttle: Throttle) -> None:
    for number in range(31):
        fail(throttle, 1, address=f"2001:db8:0:{number:x}::1")
    assert wait(throttle, address="2001:db8:0:1::2") > 0
    assert wait(throttle, address="2001:db8:ff::1") == 0


def test_a_right_password_forgives(throttle: Throttle) -> None:
    fail(throttle, 3)
    throttle.passed("ann", HERE, b"good")
    fail(throttle, 3, start=10)
    assert wait(throttle) == 0


def test_an_hour_without_failures_forgives(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 10)
    clock.now += FORGET_SECONDS + 1
    fail(throttle, 1, start=100)
    assert wait(throttle) == 0


def test_many_at_once_do_not_count_as_none(throttle: Throttle) -> None:
    with (
        throttle.trying("ann", HERE, b"1"),
        throttle.trying("ann", NEAR, b"2"),
        throttle.trying("ann", HERE, b"3"),
    ):
        assert wait(throttle) > 0
        assert wait(throttle, address=FAR) == 0
    assert wait(throttle) == 0


def test_a_client_that_begins_with_many_requests_is_not_taken_for_a_guesser(throttle: Throttle) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            assert wait(throttle, key=b"the same") == 0
            stack.enter_context(throttle.trying("ann", HERE, b"the same"))
        assert wait(throttle, key=b"another") == 0


def test_failures_are_answered_later_and_later(throttle: Throttle) -> None:
    delays = [throttle.failed("ann", HERE, bytes([number])) for number in range(8)]
    assert delays == [0.125, 0.25, 0.5, 1, 2, 2, 2, 2]


def test_with_0_nobody_is_blocked(clock: Clock) -> None:
    throttle = Throttle(0, clock=clock)
    fail(throttle, 100)
    assert wait(throttle) == 0


def test_memory_is_bounded(throttle: Throttle) -> None:
    for number in range(3 * MAX_REMEMBERED):
        throttle.failed(f"user-{number}", f"2001:db8:{number:x}::1", str(number).encode())
        throttle.passed(f"user-{number}", HERE, str(-number).encode())
    sizes = [len(kept) for kept in vars(throttle).values() if hasattr(kept, "__len__")]
    assert max(sizes) == MAX_REMEMBERED


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    with serving(FolderStore(folder / "data"), folder, failed_sign_ins="1") as server:
        yield server


def ask(server: Server, user: str, password: str, client: str) -> httpx.Response:
    headers = {"X-Forwarded-For": client}
    return httpx.get(f"{server.url}/x.prop", auth=(user, password), headers=headers, trust_env=False)


def test_a_guesser_is_told_429_and_the_user_is_not(guarded: Server) -> None:
    user = guarded.new_user()
    assert ask(guarded, user, PASSWORD, HERE).status_code == 404
    statuses = [ask(guarded, user, f"guess {number}", HERE).status_code for number in range(3)]
    assert statuses == [401, 401, 429]
    refused = ask(guarded, user, "guess", NEAR)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["dav"] == "1, 2, 3"
    assert refused.text == "Too many wrong passwords, try again in 1 s.\n"
    assert ask(guarded, user, PASSWORD, HERE).status_code == 404
    assert ask(guarded, user, "wrong", FAR).status_code == 401
    assert guarded.errors.read_text().count(f"sign-in as {user} from 2001:db8::/64: 2 failures") == 1


def test_many_requests_at_once_of_somebody_new_all_pass(guarded: Server) -> None:
    user = guarded.new_user()
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: ask(guarded, user, PASSWORD, "2001:db8:7::1"), range(32)))
    assert {answer.status_code for answer in answers} == {404}


def test_what_is_not_there_and_what_names_nobody_are_no_failures(guarded: Server) -> None:
    user, client = guarded.new_user(), "2001:db8:5::1"
    for _ in range(10):
        assert ask(guarded, user, PASSWORD, client).status_code == 404
        assert httpx.get(guarded.url, headers={"X-Forwarded-For": client}, trust_env=False).status_code == 401
    assert ask(guarded, user, "wrong", client).status_code == 401


def test_after_the_block_the_right_password_is_taken_again(guarded: Server) -> None:
    user, client = guarded.new_user(), "2001:db8:6::1"
    for number in range(2):
        assert ask(guarded, user, f"guess {number}", client).status_code == 401
    deadline = time.monotonic() + 20
    while (answer := ask(guarded, user, PASSWORD, client)).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status_code == 404


def test_the_access_line_names_the_client(guarded: Server) -> None:
    user = guarded.new_user()
    ask(guarded, user, PASSWORD, "192.0.2.77")
    assert f" 192.0.2.77 {user} GET /x.prop 404 " in guarded.wait_for_line(f" {user} ")
