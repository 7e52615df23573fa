"""What the tests of the commands share."""

import pytest
from click.testing import CliRunner

from keshin.cli.main import main


@pytest.fixture
def invoke(tiny_folder, monkeypatch):
    monkeypatch.delenv("KESHIN_DEBUG", raising=False)

    def run(*arguments, model=True):
        chosen = ["--model", str(tiny_folder)] if model else []
        return CliRunner().invoke(main, [*map(str, arguments), *chosen])

    return run
