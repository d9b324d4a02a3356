from __future__ import annotations

import httpx
import pytest

from tests.servers import PASSWORD, Server
from tests.wire import basic, connect, exchange, head, read_answer


@pytest.fixture
def user(folder_server: Server) -> str:
    """A user who has stored a collection with a file in it."""
    user = folder_server.new_user()
    with httpx.Client(base_url=folder_server.url, auth=(user, PASSWORD), trust_env=False) as client:
        assert client.request("MKCOL", "/kept/").status_code == 201
        assert client.put("/kept/a.txt", content=b"content").status_code == 201
    return user


@pytest.mark.parametrize("target", ["/kept/#a.txt", "/kept#", "/kept/?x#y", "/#", "/kept/a.txt#kept"])
def test_a_target_with_a_fragment_is_refused_and_nothing_is_done(
    folder_server: Server, user: str, target: str
) -> None:
    authorization = f"Authorization: {basic(user)}"
    answer = exchange(folder_server, "DELETE", target, authorization)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert exchange(folder_server, "GET", "/kept/a.txt", authorization).body == b"content"


def test_a_fragment_in_a_later_packet_is_seen_too(folder_server: Server, user: str) -> None:
    request = head("DELETE", "/kept/#a.txt", f"Authorization: {basic(user)}")
    with connect(folder_server) as connection:
        for part in (request[:10], request[10:14], request[14:]):
            connection.sendall(part)
        assert read_answer(connection, "DELETE").status == 400
    assert exchange(folder_server, "GET", "/kept/a.txt", f"Authorization: {basic(user)}").status == 200


@pytest.mark.parametrize("target", [b"/a\x01b", b"/a\tb", b"/a\x7fb", b"/\xc3\xa9", b"/a b"])
def test_bytes_that_no_target_may_hold_are_refused(folder_server: Server, target: bytes) -> None:
    assert exchange(folder_server, "GET", target).status == 400


def test_what_browsers_leave_as_typed_is_taken(folder_server: Server, user: str) -> None:
    authorization = f"Authorization: {basic(user)}"
    name = "/\"<>^`{|}[]'!$&()*+,;=:@~.txt"
    assert exchange(folder_server, "PUT", name, authorization, body=b"typed").status == 201
    encoded = "/%22%3C%3E%5E%60%7B%7C%7D%5B%5D%27%21%24%26%28%29%2A%2B%2C%3B%3D%3A%40~.txt"
    assert exchange(folder_server, "GET", encoded, authorization).body == b"typed"
