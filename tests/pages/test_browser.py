"""The pages in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Error, Frame, Page, Request, sync_playwright

from tests.page_library import OLD, PAPER, PAPER_KEY, SNAPSHOT_KEY, shown, stored
from tests.requirements import program
from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore

USER = "u0"
NEWCOMER = "u1"
_SECONDS = 15

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pages")
    store = FolderStore(folder / "data")
    stored(store, USER, shown())
    with serving(store, folder) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Its own sandbox needs rights that root in a container lacks.
        browser = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(server: Server, chromium: Browser) -> Iterator[OpenPage]:
    """Opens a page signed in; no request may go to another host, and no error may be reported."""
    complaints: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((server.url, "chrome-extension:", "chrome:", "data:", "blob:")):
            complaints.append(request.url)

    def listen(line: ConsoleMessage) -> None:
        # Beside a PDF a browser asks for an icon that has an address by custom.
        if line.type == "error" and not line.location["url"].endswith("/favicon.ico"):
            complaints.append(line.text)

    with ExitStack() as stack:

        def opened(path: str = "/-/", user: str = USER, **options: object) -> Page:
            context = chromium.new_context(
                base_url=server.url,
                http_credentials={"username": user, "password": PASSWORD},
                reduced_motion="reduce",
                **options,  # type: ignore[arg-type]  # any of the many that a context takes
            )
            stack.callback(context.close)
            context.set_default_timeout(_SECONDS * 1000)
            page = context.new_page()
            page.on("request", look)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", listen)
            if path:
                page.goto(path)
            return page

        yield opened
    assert complaints == []


def test_who_has_no_password_sees_nothing(chromium: Browser, server: Server) -> None:
    context = chromium.new_context()
    # What it says when nobody answers its question for a password.
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(f"{server.url}/-/")
    context.close()


def test_a_library_is_shown_with_chart_and_newest_names(open_page: OpenPage) -> None:
    page = open_page()
    assert page.get_by_role("heading", level=1).inner_text() == "Your library"
    assert page.get_by_text(f"Signed in as {USER}").is_visible()
    widths = page.locator("svg.bar rect").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert len(widths) >= 5
    assert widths == sorted(widths, reverse=True)
    assert page.get_by_role("img", name="Column chart").bounding_box()["height"] > 100  # type: ignore[index]
    assert page.locator(".files tbody tr").count() == 20
    assert page.get_by_role("link", name=PAPER).is_visible()
    assert page.get_by_role("link", name=OLD).is_visible()


def test_a_click_opens_the_pdf_in_the_browser(open_page: OpenPage) -> None:
    page = open_page()
    with page.expect_response(lambda answer: f"/-/item/{PAPER_KEY}/" in answer.url) as answer:
        page.get_by_role("link", name=PAPER).click()
    assert answer.value.status == 200
    page.wait_for_load_state()
    assert page.evaluate("document.contentType") == "application/pdf"
    # Chromium's own viewer has taken it.
    _viewer(page).locator("#pagelength", has_text="3").wait_for()


def _viewer(page: Page) -> Frame:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        for frame in page.frames:
            if frame.url.startswith("chrome-extension:"):
                return frame
        page.wait_for_timeout(20)
    raise AssertionError("Chromium shows no PDF")


def test_a_snapshots_html_does_not_run_in_our_origin(open_page: OpenPage, server: Server) -> None:
    page = open_page()
    page.get_by_role("link", name="seite.html").click()
    page.wait_for_url(f"**/-/item/{SNAPSHOT_KEY}/")
    with page.expect_download() as download:
        page.get_by_role("link", name="seite.html").click()
    assert b"DELETE" in Path(download.value.path()).read_bytes()
    assert page.title() == f"Attachment {SNAPSHOT_KEY} – zotshelf"
    assert not server.lines("DELETE")


@pytest.mark.parametrize("path", ["/-/", "/-/check", "/-/kinds", f"/-/item/{SNAPSHOT_KEY}/", "/-/item/none/"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: OpenPage, path: str, scheme: str) -> None:
    page = open_page("", color_scheme=scheme)
    if path == "/-/item/none/":
        # A browser says of every answer that is a 404 that it is one.
        page.route("**/-/item/none/", lambda route: route.fulfill(response=route.fetch(), status=200))
    page.goto(path)
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_dark_and_light_are_two(open_page: OpenPage) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (open_page(color_scheme=scheme).evaluate(colour) for scheme in ("light", "dark"))
    assert light == "rgb(245, 246, 248)"
    assert dark == "rgb(17, 21, 28)"


@pytest.mark.parametrize("path", ["/-/", "/-/check", f"/-/item/{SNAPSHOT_KEY}/"])
def test_nothing_is_wider_than_a_small_phone(open_page: OpenPage, path: str) -> None:
    page = open_page(path, viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_keyboard_is_enough(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["width"] > 100  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert focused[1] == "solid"
        seen.append(focused[0])
        if focused[0] == PAPER:
            break
    assert seen[:4] == ["Copy", "Copy", "Check every attachment", "The same as a table"]
    assert seen[-1] == PAPER
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/-/item/{PAPER_KEY}/**")


def test_a_button_copies_the_address(open_page: OpenPage, server: Server) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy URL").click()
    page.get_by_role("button", name="Copy URL").filter(has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == server.url.removeprefix("http://")
    assert "is copied" in page.get_by_role("status").inner_text()


def test_all_can_be_read_without_javascript(open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    assert page.get_by_role("button", name="Copy").count() == 0
    assert page.locator("#url").is_visible()
    page.get_by_role("link", name="Check every attachment").click()
    assert page.get_by_role("heading", name="Nothing is wrong").is_visible()
    assert page.locator(".step:visible").count() == 0


def test_a_newcomer_is_told_how_to_begin(open_page: OpenPage) -> None:
    page = open_page(user=NEWCOMER)
    assert page.get_by_role("heading", level=1).inner_text() == f"Welcome, {NEWCOMER}"
    assert Axe().run(page).violations_count == 0
