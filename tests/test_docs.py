"""The documents say what is so: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keshin.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def test_generated_pages_are_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_both_readmes() -> None:
    for name in ("README.md", "README.ja.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert all(
            f"keshin {command} " in text or f"keshin {command}\n" in text for command in COMMANDS
        )


def test_both_readmes_open_with_the_same_two_commands() -> None:
    blocks = [
        re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)[:2]
        for name in ("README.md", "README.ja.md")
    ]
    assert blocks[0] == blocks[1]
    assert all(block.startswith("python3 -m venv") for block in blocks[0])


def test_the_version_is_in_the_changelog_or_unreleased() -> None:
    import keshin

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{keshin.__version__}]" in text or "## [Unreleased]" in text
