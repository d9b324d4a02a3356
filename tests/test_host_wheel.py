"""An installed package brings the templates along."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.hosting import NEEDED, files, written
from tests.stores import REPOSITORY, environment

_SOURCES = ("app", "conf", "pyproject.toml", "README.md", "LICENSE")


def _wheel(folder: Path) -> Path:
    """Build the package's wheel from a copy of the sources, which the build writes into."""
    copy = folder / "sources"
    copy.mkdir()
    for name in _SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(
                source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(source, copy / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=copy, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def test_a_wheel_writes_what_a_checkout_writes(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    with zipfile.ZipFile(_wheel(tmp_path)) as wheel:
        wheel.extractall(site)
    shutil.rmtree(tmp_path / "sources")
    arguments = [*NEEDED, "--output", str(tmp_path / "out"), "--firewall", "--offload"]
    done = subprocess.run(
        [sys.executable, "-m", "app", "host", *arguments],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == files(written(tmp_path / "other", "--firewall", "--offload"))


def test_a_wheel_has_the_pages(tmp_path: Path) -> None:
    with zipfile.ZipFile(_wheel(tmp_path)) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("app/pages/")}
    folder = REPOSITORY / "app" / "pages"
    kept = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert packed == {str(path.relative_to(REPOSITORY)) for path in kept}
