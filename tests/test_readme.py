"""The README tells the truth about the settings."""

from pathlib import Path

from scripts.settings_table import settings_table


def test_the_readme_has_every_setting_with_its_default_and_description() -> None:
    assert settings_table() in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
