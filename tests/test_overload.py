"""More connections, requests and sign-ins than can be served: who is told to try again, and who goes on."""

from __future__ import annotations

import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import bcrypt
import pytest

from tests.servers import Server, serving
from tests.stores import FolderStore
from tests.waiting import wait_until
from tests.wire import PATIENCE, basic, connect, exchange, head, read_answer

KIB = 2**10
MIB = 2**20
CONNECTIONS = 20
REQUESTS = 5


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with few connections, and few requests a user, that waits a second for its clients."""
    folder = tmp_path_factory.mktemp("small")
    store = FolderStore(folder / "data")
    with serving(
        store, folder, connections=str(CONNECTIONS), user_requests=str(REQUESTS), client_timeout="1"
    ) as server:
        yield server


def signed(user: str) -> str:
    return f"Authorization: {basic(user)}"


def is_served(server: Server) -> bool:
    try:
        return exchange(server, "GET", "/-/health").status == 200
    except OSError:
        return False


def said(server: Server, text: str) -> int:
    return server.errors.read_text().count(text)


def test_idle_connections_give_way_to_those_who_come(small_server: Server) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(small_server)) for _ in range(CONNECTIONS)]
        with connect(small_server) as late:
            late.sendall(head("GET", "/-/health"))
            assert read_answer(late, "GET").status == 200
            # The one that had waited longest made room.
            with suppress(ConnectionResetError):
                assert idle[0].recv(1) == b""
            idle[-1].sendall(head("GET", "/-/health"))
            assert read_answer(idle[-1], "GET").status == 200


def test_where_all_connections_are_at_work_who_comes_is_told_to_try_again(small_server: Server) -> None:
    users = [small_server.new_user() for _ in range(CONNECTIONS)]
    before = said(small_server, "connections are at work")
    with ExitStack() as stack:
        for user in users:
            connection = stack.enter_context(connect(small_server))
            connection.sendall(
                head("PUT", "/f", signed(user), "Content-Length: 70000", "Expect: 100-continue")
            )
            # It waits for the body now.
            assert connection.recv(12) == b"HTTP/1.1 100"
        for _ in range(5):
            with connect(small_server) as late:
                late.sendall(head("GET", "/f", signed(users[0])))
                answer = read_answer(late, "GET")
                assert (answer.status, answer.headers["retry-after"]) == (503, "5")
                assert answer.body.count(b"\n") == 1
    wait_until(lambda: is_served(small_server), "the connections stay taken")
    assert 1 <= said(small_server, "connections are at work") <= before + 1


def test_one_user_may_have_so_many_requests_and_others_go_on(small_server: Server) -> None:
    user, other = small_server.new_user(), small_server.new_user()
    with ExitStack() as stack:
        for _ in range(REQUESTS):
            connection = stack.enter_context(connect(small_server))
            connection.sendall(head("PUT", "/f", signed(user), "Content-Length: 5", "Expect: 100-continue"))
            assert connection.recv(12) == b"HTTP/1.1 100"
        for _ in range(3):
            answer = exchange(small_server, "GET", "/f", signed(user))
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert exchange(small_server, "PUT", "/f", signed(other), body=b"x").status == 201
    wait_until(lambda: exchange(small_server, "GET", "/f", signed(user)).status == 404, "still counted")
    assert said(small_server, f"{user} has {REQUESTS} requests under way") <= 1


@pytest.mark.parametrize("size", [200_000, 8 * MIB], ids=["one-block", "many-blocks"])
def test_who_takes_nothing_of_an_answer_is_cut_off(small_server: Server, size: int) -> None:
    user = small_server.new_user()
    assert exchange(small_server, "PUT", "/f", signed(user), body=bytes(size)).status == 201
    with socket.socket(socket.AF_INET6) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(PATIENCE)
        reader.connect(("::1", small_server.port))
        # Several: what the kernel takes of one answer must not make it seem taken.
        reader.sendall(head("GET", "/f", signed(user)) * 4)
        # Not read before the server has given up: what was on its way by then is less than it all.
        small_server.wait_for_line(f" {user} GET /f 499 ")
        received = 0
        try:
            while data := reader.recv(65536):
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < 4 * size
    assert is_served(small_server)


def test_who_takes_a_block_slowly_is_not_cut_off(small_server: Server) -> None:
    user = small_server.new_user()
    size = 480 * KIB
    assert exchange(small_server, "PUT", "/f", signed(user), body=bytes(size)).status == 201
    with socket.socket(socket.AF_INET6) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(PATIENCE)
        reader.connect(("::1", small_server.port))
        reader.sendall(head("GET", "/f", signed(user), "Connection: close"))
        received = b""
        # The server waits a second for one who takes nothing; a block of its takes this one longer.
        while data := reader.recv(16 * KIB):
            received += data
            time.sleep(0.12)
    assert received.endswith(b"\r\n\r\n" + bytes(size))


def test_the_server_may_open_as_many_files_as_the_system_allows(small_server: Server) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(small_server.pid, resource.RLIMIT_NOFILE) == (most, most)


def test_where_few_files_may_be_open_there_are_fewer_connections_and_nothing_breaks(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
    run = 'import sys; sys.argv = ["zotshelf", "serve", "--host", "::1", "--port", "0"]\n'
    command = ("-c", f"{limited}{run}from app import cli\ncli.main()")
    with serving(FolderStore(tmp_path / "data"), tmp_path, command) as server:
        assert said(server, "may open only 200 files") == 1
        with ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(connect(server)).sendall(b"GET / HT")
            assert is_served(server)
        assert is_served(server)
        assert said(server, "Traceback") == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_server_that_comes_to_the_end_of_its_files_says_so_at_most_once_and_recovers(
    tmp_path: Path, loop: str
) -> None:
    count = 60  # which even those who are told to come again use up
    limited = f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))\n"
    without = "" if loop == "uvloop" else "sys.modules['uvloop'] = None\n"
    run = 'sys.argv = ["zotshelf", "serve", "--host", "::1", "--port", "0"]\nfrom app import cli\ncli.main()'
    with serving(FolderStore(tmp_path / "data"), tmp_path, ("-c", limited + without + run)) as server:
        with ExitStack() as stack:
            for _ in range(3 * count):
                late = stack.enter_context(connect(server))
                with suppress(OSError):
                    late.sendall(b"GET / HT")
            if loop == "asyncio":  # uvloop lets so few in at a time that they do not run out
                wait_until(lambda: said(server, "has all 60 files open") > 0, "that is not said")
            time.sleep(1.2)  # asyncio tries again after a second
        wait_until(lambda: is_served(server), "it does not recover")
        user = server.new_user()
        assert exchange(server, "PUT", "/f", signed(user), body=b"x").status == 201
        assert said(server, "has all 60 files open") == int(loop == "asyncio")
        assert said(server, "Traceback") == 0
        assert server.errors.stat().st_size < 2000


_ALMOST_ALL_OPEN = """
import os, sys, threading, time
from pathlib import Path

def hold():
    while not Path("hold").exists():
        time.sleep(0.01)
    held = [os.dup(0)]
    while held[-1] < {count} - 8:
        held.append(os.dup(0))
    os.close(held.pop())
    Path("held").touch()
    while Path("hold").exists():
        time.sleep(0.01)
    for descriptor in held:
        os.close(descriptor)

threading.Thread(target=hold, daemon=True).start()
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_whoever_gets_one_of_the_last_files_is_answered_and_that_is_said_once(
    tmp_path: Path, loop: str
) -> None:
    count = 80
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))\n"
    without = "" if loop == "uvloop" else "sys.modules['uvloop'] = None\n"
    run = 'sys.argv = ["zotshelf", "serve", "--host", "::1", "--port", "0"]\nfrom app import cli\ncli.main()'
    command = ("-c", limited + _ALMOST_ALL_OPEN.format(count=count) + without + run)
    with serving(FolderStore(tmp_path / "data"), tmp_path, command) as server:
        assert is_served(server)
        assert said(server, f"has all {count} files open") == 0
        (tmp_path / "hold").touch()
        wait_until((tmp_path / "held").exists, "the files are not opened")
        for _ in range(3):
            assert is_served(server)
        assert said(server, f"has all {count} files open") == 1
        (tmp_path / "hold").unlink()
        wait_until(lambda: is_served(server), "it does not recover")
        assert said(server, "Traceback") == 0


def test_a_hundred_first_sign_ins_at_once_are_bounded_and_known_ones_go_on(tmp_path: Path) -> None:
    with serving(FolderStore(tmp_path / "data"), tmp_path) as server:
        costly = bcrypt.hashpw(b"p", bcrypt.gensalt(9)).decode()
        assert exchange(server, "PROPFIND", "/", signed("u0"), "Depth: 0").status == 207
        with (tmp_path / "users.htpasswd").open("a") as users:
            users.writelines(f"new{number}:{costly}\n" for number in range(100))
        wait_until(lambda: said(server, "was read again") == 1, "the users were not read again")
        assert exchange(server, "PROPFIND", "/", signed("u0"), "Depth: 0").status == 207

        def sign_in(number: int) -> int:
            authorization = f"Authorization: {basic(f'new{number}', 'p')}"
            return exchange(server, "PROPFIND", "/", authorization, "Depth: 0").status

        with ThreadPoolExecutor(100) as threads:
            signing_in = [threads.submit(sign_in, number) for number in range(100)]
            known = exchange(server, "PROPFIND", "/", signed("u0"), "Depth: 0").status
            statuses = Counter(future.result() for future in signing_in)
        assert known == 207
        assert set(statuses) <= {207, 503}
        assert statuses[207] >= 64
        assert said(server, "sign-ins wait for bcrypt") == bool(statuses[503])
