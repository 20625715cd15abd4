"""Move new vectors into the index: `ray job submit -- python jobs/fold.py`, or `python -m jobs.fold`.

Search is exact over vectors that are not folded, so that this saves time and changes no answer's right to be found.
"""

from __future__ import annotations

import click


@click.command()
def main() -> None:
    """Fold every model's recent vectors, then end; at once when another run is alive."""
    from argus_ray.pipelines import fold
    from argus_ray.settings import Settings
    from argus_ray.telemetry import log_to_stderr

    settings = Settings()
    log_to_stderr(settings.log_format)
    print(f"{fold.run(settings)} vectors folded")


if __name__ == "__main__":
    main()
