"""Drain the queue of track jobs: `ray job submit -- python jobs/track.py`, or `python -m jobs.track`.

Reads ARGUS_ settings from the environment. Exits 0 when the queue has stayed empty for a while, or at once when another
run of the pool is alive.
"""

from __future__ import annotations

import click


@click.command()
@click.option("--pool", default="track", show_default=True, help="Name under which at most one run is alive.")
@click.option("--linger-s", type=float, help="Seconds to wait at an empty queue before ending.")
@click.option("--max-life-s", type=float, help="Seconds after which nothing new is taken.")
def main(pool: str, linger_s: float | None, max_life_s: float | None) -> None:
    """Follow every instance of the labels that jobs ask for, until the queue stays empty."""
    import ray

    from argus_ray.pipelines import track
    from argus_ray.settings import Settings
    from argus_ray.telemetry import log_to_stderr

    given = {"linger_s": linger_s, "max_life_s": max_life_s}
    settings = Settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    log_to_stderr(settings.log_format)
    ray.init(address=settings.ray_address or "auto", namespace="argus", log_to_driver=True)
    track.run(settings, pool=pool)


if __name__ == "__main__":
    main()
