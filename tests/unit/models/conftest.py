from pathlib import Path

import pytest

from argus_ray.models import sam3
from tests import tiny_sam3


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sam3.write(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> sam3.Sam3:
    """The smallest SAM 3 there is, with random weights, every threshold at zero."""
    return sam3.load(str(tiny_folder), "cpu")
