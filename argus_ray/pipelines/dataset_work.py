"""The pool of datasets: versions, exports and imports, one piece after the other."""

from __future__ import annotations

from argus_ray.datasets.exporting import export
from argus_ray.datasets.freezing import freeze
from argus_ray.datasets.importing import import_annotations
from argus_ray.pipelines import pieces
from argus_ray.settings import Settings

POOL = "dataset_work"
WORKS: dict[str, pieces.Work] = {"freeze": freeze, "export": export, "import": import_annotations}


def run(settings: Settings, *, pool: str = POOL) -> bool:
    """Drain the queue of these kinds; False at once where another run of the pool is alive."""
    return pieces.run(settings, WORKS, pool=pool)
