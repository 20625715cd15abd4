"""The form of log lines, and the metrics that Argus adds to Ray's own endpoint.

Metrics carry few and bounded labels: no ids. On the endpoint each name begins with `ray_`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line; whatever a call passes as `extra` becomes a field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(form: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Set up this process's log: once, at its entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "botocore", "urllib3", "hpack"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class IngestMetrics:
    """Counters and gauges of a run. Make it once in a process that Ray knows."""

    def __init__(self, pool: str) -> None:
        from ray.util.metrics import Counter, Gauge

        def counter(name: str, description: str) -> Counter:
            return Counter(name, description=description, tag_keys=("pool",)).set_default_tags({"pool": pool})

        def gauge(name: str, description: str) -> Gauge:
            return Gauge(name, description=description, tag_keys=("pool",)).set_default_tags({"pool": pool})

        self.frames_kept = counter("argus_frames_kept", "Frames written to the catalogue.")
        self.frames_dropped = counter("argus_frames_dropped", "Near-duplicates that were left out.")
        self.chunks_lost = counter("argus_chunks_lost", "Chunks refused since another run held their segment.")
        self.videos_ready = counter("argus_videos_ready", "Videos that became ready.")
        self.videos_failed = counter("argus_videos_failed", "Videos that failed, for whatever reason.")
        self.segments_queued = gauge("argus_segments_queued", "Segments that wait to be claimed.")
        self.segments_running = gauge("argus_segments_running", "Segments that some run holds.")


class ConceptMetrics:
    """Counters of a run of autolabel or track. Make it once in a process that Ray knows."""

    def __init__(self, pool: str) -> None:
        from ray.util.metrics import Counter

        def counter(name: str, description: str) -> Counter:
            return Counter(name, description=description, tag_keys=("pool",)).set_default_tags({"pool": pool})

        self.frames_asked = counter("argus_frames_asked", "Frames on which a model was asked for labels.")
        self.objects_found = counter("argus_objects_found", "Objects that it found there.")
        self.device_seconds = counter("argus_device_seconds", "Seconds of the model's device.")
        self.chunks_lost = counter("argus_answers_lost", "Answers refused since another run held their segment.")
        self.jobs_ended = counter("argus_jobs_ended", "Jobs that succeeded or failed.")

    def count(self, outcome: str, *, frames: int, found: int, compute_s: float) -> None:
        for metric, amount in (
            (self.frames_asked, frames),
            (self.objects_found, found),
            (self.device_seconds, compute_s),
            (self.chunks_lost, int(outcome == "lost")),
            (self.jobs_ended, int(outcome in {"succeeded", "failed"})),
        ):
            if amount:
                metric.inc(amount)
