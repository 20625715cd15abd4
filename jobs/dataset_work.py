"""Drain the queue of versions, exports and imports: `ray job submit -- python jobs/dataset_work.py`, or
`python -m jobs.dataset_work`.

Reads ARGUS_ settings from the environment. Exits 0 when the queue has stayed empty for a while, or at once when another
run of the pool is alive. One file for three kinds, since one of them is called as a word of the language, and a file
called `datasets.py` would stand before the library of that name.
"""

from __future__ import annotations

import click


@click.command()
@click.option("--pool", default="dataset_work", show_default=True, help="Name under which at most one run is alive.")
@click.option("--linger-s", type=float, help="Seconds to wait at an empty queue before ending.")
@click.option("--max-life-s", type=float, help="Seconds after which nothing new is taken.")
def main(pool: str, linger_s: float | None, max_life_s: float | None) -> None:
    """Freeze, export and import, until the queue stays empty."""
    from argus_ray.pipelines import dataset_work
    from argus_ray.settings import Settings
    from argus_ray.telemetry import log_to_stderr

    given = {"linger_s": linger_s, "max_life_s": max_life_s}
    settings = Settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    log_to_stderr(settings.log_format)
    dataset_work.run(settings, pool=pool)


if __name__ == "__main__":
    main()
