"""An export takes the memory that it takes, however large the version is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("format_", ["coco"])
def test_memory_does_not_grow_with_the_number_of_annotations(format_) -> None:
    def peak(annotations: int) -> int:
        command = [sys.executable, "-m", "tests.exporting_memory", format_, str(annotations)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["peak_bytes"]

    assert peak(30_000) < 1.1 * peak(10_000)
