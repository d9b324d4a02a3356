"""What `zotshelf host` does to a tree: nothing twice, nothing outside, nothing over an operator's edits."""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.host.write import MANIFEST
from tests.hosting import NEEDED, files, host, written

SITE = "etc/nginx/conf.d/zotshelf.conf"
SNIPPET = "etc/nginx/snippets/zotshelf.conf"


def _state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return mode, inode and text of every file: a file that was written again has another inode."""
    found = {}
    for target, text in files(folder).items():
        status = (folder / target).stat()
        found[target] = (stat.S_IMODE(status.st_mode), status.st_ino, text)
    return found


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    before = _state(written(tmp_path / "out"))
    assert before
    said = host("--output", str(tmp_path / "out"), *NEEDED)
    assert said.code == 0
    assert {line.rpartition(": ")[2] for line in said.output.splitlines()} == {"unchanged"}
    assert _state(tmp_path / "out") == before


def test_what_is_written_does_not_depend_on_where(tmp_path: Path) -> None:
    assert files(written(tmp_path / "a")) == files(written(tmp_path / "b/c/d"))


def test_every_file_says_where_it_comes_from(tmp_path: Path) -> None:
    for target, text in files(written(tmp_path / "out", "--firewall")).items():
        if target != MANIFEST:
            first, second = text.splitlines()[:2]
            origin = second if first.startswith("#!") else first
            assert origin.startswith("# Written by zotshelf "), target
            assert origin.endswith(
                "zotshelf host --domain dav.example.org --email admin@example.org --firewall"
            ), target


def test_the_command_that_a_file_names_writes_it_again(tmp_path: Path) -> None:
    arguments = (
        *("--domain", "b.example", "--storage", "s3://my-bucket/a~b/{user}", "--relay", "2001:db8::/64"),
        *("--no-chrony", "--offload", "--workers", "3", "--tls", "modern"),
    )
    first = written(tmp_path / "first", *arguments)
    named = (first / SITE).read_text().splitlines()[0].partition(": ")[2]
    again = written(tmp_path / "again", *shlex.split(named)[2:], needed=())
    assert files(again) == files(first)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        out = written(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((out / SITE).stat().st_mode) == 0o644
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out / "etc").rglob("*") if path.is_dir()} == {
        0o755
    }


def test_the_origin_names_the_file_of_options_in_one_line(tmp_path: Path) -> None:
    odd = tmp_path / "a\nlisten 81;\u2028é.toml"
    odd.write_text('domain = "dav.example.org"\nemail = "admin@example.org"\n')
    text = files(written(tmp_path / "out", "--options", str(odd), needed=()))[SITE]
    assert "a\\nlisten 81;\\u2028\\xe9.toml" in text.splitlines()[0]
    assert text.isascii()


def test_a_run_says_what_it_did(tmp_path: Path) -> None:
    said = host("--output", str(tmp_path), *NEEDED)
    assert f"{tmp_path / SITE}: new" in said.output.splitlines()
    said = host("--output", str(tmp_path), *NEEDED, "--hsts", "0")
    assert f"{tmp_path / SITE}: changed" in said.output.splitlines()
    assert said.code == 0


def test_diff_shows_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    said = host("--output", str(tmp_path / "out"), *NEEDED, "--diff")
    assert said.code == 1
    assert f"+++ b/{SITE}\n" in said.output
    assert "--- /dev/null\n" in said.output
    assert not (tmp_path / "out").exists()

    before = _state(written(tmp_path / "out"))
    said = host("--output", str(tmp_path / "out"), *NEEDED, "--diff")
    assert (said.code, said.output, said.errors) == (0, "", "")

    said = host("--output", str(tmp_path / "out"), *NEEDED, "--port", "8099", "--diff")
    assert said.code == 1
    assert f"--- a/{SITE}\n+++ b/{SITE}\n" in said.output
    assert "\n-    server [::1]:8080;\n+    server [::1]:8099;\n" in said.output
    assert _state(tmp_path / "out") == before


def test_a_file_that_is_no_longer_wanted_is_removed(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    said = host("--output", str(out), *NEEDED, "--nginx", "none", "--diff")
    assert f"--- a/{SITE}\n+++ /dev/null\n" in said.output
    written(out, "--nginx", "none")
    assert not (out / SITE).exists()
    assert SITE not in json.loads((out / MANIFEST).read_text())["files"]


def test_an_edited_file_that_is_no_longer_wanted_stays(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    (out / SITE).write_text("mine")
    for force in ([], ["--force"]):
        said = host("--output", str(out), *NEEDED, "--nginx", "none", *force)
        assert said.code == 1
        assert (out / SITE).read_text() == "mine"
        assert not (out / SNIPPET).exists()


def _identity(path: Path) -> tuple[int, int, int]:
    status = os.lstat(path)
    return status.st_ino, status.st_mode, status.st_mtime_ns


def _edit(path: Path) -> None:
    path.write_text(path.read_text() + "# mine\n")


def _chmod(path: Path) -> None:
    path.chmod(0o600)


def _link(path: Path) -> None:
    other = path.parent / "elsewhere"
    path.rename(other)
    path.symlink_to(other)


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/zotshelf")


def _not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("change", [_edit, _chmod, _link, _dangle, _not_text])
def test_a_file_changed_by_hand_stays_as_it_is_unless_forced(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    out = written(tmp_path / "out")
    change(out / SITE)
    before = _identity(out / SITE)

    for arguments in ([], ["--hsts", "0"]):
        said = host("--output", str(out), *NEEDED, *arguments, "--diff")
        assert said.code == 1
        assert said.errors == f"{SITE} was edited by hand, left as it is (unless --force is given)\n"
        assert SITE in said.output
        said = host("--output", str(out), *NEEDED, *arguments)
        assert said.code == 1
        assert said.errors == f"{out / SITE}: edited by hand, left as it is\n"
        assert _identity(out / SITE) == before
    # What nobody edited has been brought up to date.
    assert "--hsts 0" in (out / SNIPPET).read_text()

    said = host("--output", str(out), *NEEDED, "--force")
    assert (said.code, said.errors) == (0, "")
    fresh = written(tmp_path / "fresh")
    assert files(out)[SITE] == files(fresh)[SITE]
    assert not (out / SITE).is_symlink()
    assert stat.S_IMODE((out / SITE).stat().st_mode) == 0o644
    if (out / SITE).with_name("elsewhere").exists():  # the link was replaced, not followed
        assert (out / SITE).with_name("elsewhere").stat().st_ino != (out / SITE).stat().st_ino
    assert host("--output", str(out), *NEEDED).code == 0


def test_a_file_that_was_there_before_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / SITE).parent.mkdir(parents=True)
    (tmp_path / SITE).write_text("mine")
    said = host("--output", str(tmp_path), *NEEDED)
    assert said.code == 1
    assert (tmp_path / SITE).read_text() == "mine"
    assert (tmp_path / SNIPPET).exists()
    assert host("--output", str(tmp_path), *NEEDED, "--force").code == 0
    assert (tmp_path / SITE).read_text() != "mine"


def test_an_edit_that_is_taken_back_counts_no_longer(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    text = (out / SITE).read_text()
    (out / SITE).write_text("mine")
    assert host("--output", str(out), *NEEDED).code == 1
    (out / SITE).write_text(text)
    assert host("--output", str(out), *NEEDED, "--hsts", "0").code == 0
    assert (out / SITE).read_text() != text


def test_a_file_removed_by_hand_comes_back(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    (out / SITE).unlink()
    assert host("--output", str(out), *NEEDED, "--diff").code == 1
    written(out)
    assert (out / SITE).exists()


def test_a_file_removed_by_hand_that_is_no_longer_wanted_is_no_difference(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    written(out, "--nginx", "none")
    out2 = written(tmp_path / "out2")
    (out2 / SITE).unlink()
    (out2 / SNIPPET).unlink()
    said = host("--output", str(out2), *NEEDED, "--nginx", "none", "--diff")
    assert SITE not in said.output


def test_a_run_that_was_broken_off_is_taken_up_again(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    (out / MANIFEST).unlink()
    (out / SITE).with_name(".zotshelf.conf.zotshelf-new").write_text("half a fi")
    said = host("--output", str(out), *NEEDED)
    assert (said.code, said.errors) == (0, "")
    (out / SITE).unlink()
    written(out)
    assert files(out) == files(written(tmp_path / "fresh"))


@pytest.mark.parametrize("folder", ["etc", "etc/nginx", "etc/nginx/conf.d", "etc/zotshelf"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_link_leads_out_of_the_tree(tmp_path: Path, folder: str, force: list[str]) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (out / folder).parent.mkdir(parents=True)
    (out / folder).symlink_to(outside)
    said = host("--output", str(out), *NEEDED, *force)
    assert said.code == 2
    assert "there is a link or a file where a folder should be" in said.errors
    assert said.errors.count("\n") == 1
    assert list(outside.iterdir()) == []


def test_a_manifest_cannot_name_a_file_outside_of_the_tree(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    (tmp_path / "victim").write_text("x")
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["files"]["../victim"] = manifest["files"][SITE]
    (out / MANIFEST).write_text(json.dumps(manifest))
    said = host("--output", str(out), *NEEDED)
    assert said.code == 2
    assert "is not what zotshelf host wrote" in said.errors
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 2, "files": {}}', '{"files": 1, "format": 1}']
)
def test_a_broken_manifest_ends_in_one_line_and_2(tmp_path: Path, content: str) -> None:
    out = written(tmp_path / "out")
    (out / MANIFEST).write_text(content)
    said = host("--output", str(out), *NEEDED)
    assert said.code == 2
    assert said.errors.startswith(f"zotshelf host: {out / MANIFEST} is not what zotshelf host wrote")
    assert said.errors.count("\n") == 1


def test_a_tree_that_cannot_be_written_ends_in_one_line_and_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = host("--output", str(tmp_path / "file"), *NEEDED)
    assert said.code == 2
    assert said.errors.startswith("zotshelf host: cannot ")
    assert said.errors.count("\n") == 1


def test_install_writes_to_the_machine_and_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.host.command._SYSTEM", tmp_path)
    said = host("--install", *NEEDED)
    assert said.code == 0
    assert files(tmp_path) == files(written(tmp_path / "other"))
    assert "\nNow run, as root, /usr/local/lib/zotshelf/start, which does this:\n" in said.output
    assert "  nginx -t\n" in said.output
    again = host("--install", *NEEDED)
    assert "Now run" not in again.output


def test_install_means_the_root_of_the_machine() -> None:
    from app.host.command import _SYSTEM

    assert Path("/") == _SYSTEM
