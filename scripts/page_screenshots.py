"""Write the pictures of the page in docs/: `python -m scripts.page_screenshots`.

Needs Debian's chromium and what the tests need.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright

from tests.page_library import shown, stored
from tests.requirements import program
from tests.servers import PASSWORD, Server, serving
from tests.stores import REPOSITORY, FolderStore

USER: Final = "u1"
_PICTURES: Final[dict[str, dict[str, Any]]] = {
    "page-light": {"color_scheme": "light", "viewport": {"width": 1100, "height": 1150}},
    "page-dark": {"color_scheme": "dark", "viewport": {"width": 1100, "height": 1150}},
    "page-phone": {
        "color_scheme": "light",
        "viewport": {"width": 360, "height": 780},
        "device_scale_factor": 2,
    },
}
_PROXY: Final = {"X-Forwarded-Host": "dav.example.org", "X-Forwarded-Proto": "https"}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        store = FolderStore(folder / "data")
        stored(store, USER, shown())
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        with serving(store, folder) as server:
            for picture, options in _PICTURES.items():
                _take(browser, server, REPOSITORY / "docs" / f"{picture}.png", options)
        browser.close()


def _take(browser: Browser, server: Server, file: Path, options: dict[str, Any]) -> None:
    context = browser.new_context(
        base_url=server.url,
        http_credentials={"username": USER, "password": PASSWORD},
        extra_http_headers=_PROXY,
        **options,
    )
    page = context.new_page()
    page.goto("/-/")
    page.screenshot(path=file)
    context.close()


if __name__ == "__main__":
    main()
