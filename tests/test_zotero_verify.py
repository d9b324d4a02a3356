"""Zotero's button 'Verify Server', on every storage and with the addresses that people type."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import STORAGES
from tests.servers import ODD_USERS, PASSWORD, Server, serving
from tests.stores import FolderStore
from tests.zotero_client import MissingFolder, VerifyError, ZoteroClient


@pytest.fixture(scope="module")
def below_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose WebDAV root is not the server's."""
    folder = tmp_path_factory.mktemp("below-base")
    with serving(FolderStore(folder / "data"), folder, base_path="/dav/files") as server:
        yield server


async def verified(address: str, user: str, password: str = PASSWORD) -> ZoteroClient:
    """Sign in as Zotero does, creating the missing collection; return the client, closed."""
    async with ZoteroClient(address, user, password) as client:
        with pytest.raises(MissingFolder):
            await client.verify()
        await client.create()
        await client.verify()
        assert await client.members() == {}
        assert client.refusals == 1
    return client


@pytest.mark.parametrize("server", [*STORAGES, "in_place"], indirect=True)
async def test_a_missing_collection_is_offered_created_and_verified(server: Server, user: str) -> None:
    await verified(server.url + "/", user)


async def test_without_the_parent_zotero_says_that_it_is_not_found(server: Server, user: str) -> None:
    async with ZoteroClient(f"{server.url}/not/there/", user, PASSWORD) as client:
        with pytest.raises(VerifyError, match="parent folder not found"):
            await client.verify()


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("", id="no-trailing-slash"),
        pytest.param("/", id="trailing-slash"),
        pytest.param("//", id="doubled-slash"),
        pytest.param("///", id="three-slashes"),
    ],
)
async def test_an_address_is_verified_as_it_was_typed(server: Server, user: str, typed: str) -> None:
    await verified(server.url + typed, user)


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("/eine%20Ablage", id="escaped-space"),
        pytest.param("/eine%20Ablage/", id="with-slash"),
        pytest.param("//eine%20Ablage//", id="doubled-slashes"),
        pytest.param("/%65ine%20Ablage/", id="needless-escape"),
        pytest.param("/%D0%9A%D0%BD%D0%B8%D0%B3%D0%B8/", id="other-letters"),
    ],
)
async def test_a_collection_of_any_spelling_holds_zoteros(
    server: Server, user: str, client: httpx.Client, typed: str
) -> None:
    assert client.request("MKCOL", f"{server.url}{typed.rstrip('/')}").status_code == 201
    await verified(server.url + typed, user)


@pytest.mark.parametrize(("odd_user", "password"), ODD_USERS)
async def test_names_and_passwords_may_hold_any_character(
    server: Server, odd_user: str, password: str
) -> None:
    await verified(server.url, odd_user, password)


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("/dav/files", id="no-trailing-slash"),
        pytest.param("/dav/files/", id="trailing-slash"),
        pytest.param("//dav//files//", id="doubled-slashes"),
    ],
)
async def test_the_root_may_lie_below_a_base_path(below_base: Server, typed: str) -> None:
    await verified(below_base.url + typed, below_base.new_user())


@pytest.mark.parametrize("typed", ["/", "/dav/", "/dav/files2/", "/files/"])
async def test_above_and_beside_the_base_path_nothing_is_found(below_base: Server, typed: str) -> None:
    async with ZoteroClient(below_base.url + typed, below_base.new_user(), PASSWORD) as client:
        with pytest.raises(VerifyError, match="parent folder not found"):
            await client.verify()
