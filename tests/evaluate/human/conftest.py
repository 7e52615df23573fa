"""A miniature dataset and studies of it."""

import pytest

from human_studies import made_folder
from keshin.evaluate.human import open_source, plan


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """A folder of three classes with seven pictures each."""
    return made_folder(tmp_path_factory.mktemp("human") / "birds", ["crow", "red_kite", "wren"], 7)


@pytest.fixture
def study(birds):
    made, notes = plan(open_source(birds), str(birds), questions=9, rounds=(0, 1, 2))
    assert notes == []
    return made
