"""The pages of the documentation lead somewhere, and name no command and no setting that is not there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pytest
from typer.main import get_command

from app.cli import cli
from app.settings import CONFIG, PREFIX, Settings
from tests.documented import commands, scripts

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_CODE: Final = re.compile(r"^( *)(```.*?^\1```)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return _CODE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what may stand behind # in a link to the page, as GitHub makes it of the headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        # The second of one name gets -1, and so on.
        found.add(next(f"{anchor}{end}" for end in ("", "-1", "-2", "-3") if f"{anchor}{end}" not in found))
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_within_the_repository_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert list(broken_links(page, prose(page))) == []


@pytest.mark.parametrize(
    ("text", "is_broken"),
    [
        pytest.param("[a](docs/design.md)", False, id="a file"),
        pytest.param("[a](docs/design.md#copy-and-move)", False, id="a heading"),
        pytest.param("[a](#settings)", False, id="a heading of its own"),
        pytest.param("[a](https://example.org/none)", False, id="elsewhere"),
        pytest.param("[a](docs/none.md)", True, id="no file"),
        pytest.param("[a](docs/design.md#none)", True, id="no heading"),
    ],
)
def test_a_broken_link_is_found(text: str, is_broken: bool) -> None:
    assert bool(list(broken_links(ROOT / "README.md", text))) == is_broken


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=named)
def test_the_list_of_all_pages_has_each(page: Path) -> None:
    assert page.name == "README.md" or f"]({page.name})" in (ROOT / "docs/README.md").read_text()


def mistake(words: Sequence[str]) -> str:
    """Return what `zotshelf` would not know in a command, empty if it would know all of it."""
    command: Any = get_command(cli)
    context = command.make_context("zotshelf", [], resilient_parsing=True)
    for word in words[1:]:
        if word.startswith("-"):
            if word.partition("=")[0] not in {"--help", *(name for p in command.params for name in p.opts)}:
                return f"no option {word}"
        elif hasattr(command, "get_command"):
            command = command.get_command(context, word)
            if command is None:
                return f"no command {word}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_of_a_page_is_one_with_the_options_that_it_has(page: Path) -> None:
    found = commands(page.read_text(encoding="utf-8"), "zotshelf")
    assert [(shlex.join(words), mistake(words)) for words in found if mistake(words)] == []


@pytest.mark.parametrize(
    ("command", "found"),
    [
        pytest.param("zotshelf bucket init --dry-run s3://b", "", id="right"),
        pytest.param("ZOTSHELF_PORT=0 zotshelf serve --port=80", "", id="with a value"),
        pytest.param("sudo /opt/zotshelf/bin/zotshelf host --install", "", id="with its path"),
        pytest.param("zotshelf frobnicate", "no command frobnicate", id="no command"),
        pytest.param("zotshelf bucket destroy", "no command destroy", id="no second command"),
        pytest.param("zotshelf check --hard", "no option --hard", id="no option"),
    ],
)
def test_a_mistaken_command_is_found(command: str, found: str) -> None:
    [words] = commands(f"```sh\n{command}\n```\n", "zotshelf")
    assert mistake(words) == found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    named_here = set(re.findall(rf"\b{PREFIX}[A-Z][A-Z0-9_]*", page.read_text(encoding="utf-8")))
    assert named_here - {PREFIX + name.upper() for name in Settings.model_fields} - {CONFIG} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_of_make_that_a_page_names_is_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = {words[1] for words in commands(text, "make") if len(words) > 1 and "=" not in words[1]}
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found - set(targets) == set()


def test_the_readme_in_japanese_has_the_same_code_and_as_many_headings() -> None:
    english, japanese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ja.md"))
    # What is said behind # is in the page's own language.
    bare = [[re.sub(r" +# .*", "", code) for _, code in _CODE.findall(page)] for page in (english, japanese)]
    assert bare[0] == bare[1]
    assert scripts(english)
    assert len(_HEADING.findall(english)) == len(_HEADING.findall(japanese))
