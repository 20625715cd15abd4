"""Running the video package over a file as a pipeline does, for tests of any level."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.decode import Kept, Summary, extract
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import Probe, examine
from argus_ray.video.segments import SegmentPlan, plan_segments
from tests.clips import read_number


@dataclass(frozen=True)
class Extracted:
    probe: Probe
    plans: list[SegmentPlan]
    kept: list[Kept]
    summaries: list[Summary]

    @property
    def times_us(self) -> list[int]:
        return [frame.pts_us for frame in self.kept]

    @property
    def numbers(self) -> list[int | None]:
        """What the pictures themselves say that they are."""
        return [read_number(picture(frame)) for frame in self.kept]

    @property
    def decoded(self) -> int:
        return sum(summary.decoded for summary in self.summaries)

    @property
    def dropped(self) -> int:
        return sum(summary.dropped for summary in self.summaries)

    @property
    def warnings(self) -> list[str]:
        every = [*self.probe.warnings, *(w for summary in self.summaries for w in summary.warnings)]
        return [warning.type for warning in every]


def extracted(
    source: Any, budget_frames: int = 3000, output: Output | None = None, limits: Limits | None = None, **policy: Any
) -> Extracted:
    """Probe, plan and extract every segment, each from its plan as it travels: as JSON."""
    sampling = SamplingPolicy(**policy)
    source = str(source) if isinstance(source, Path) else source
    probe, index = examine(source, "clip", limits or Limits())
    plans = plan_segments(probe, index, sampling, budget_frames, limits)
    probe = Probe.model_validate_json(probe.model_dump_json())
    kept: list[Kept] = []
    summaries: list[Summary] = []
    for plan in plans:
        travelled = SegmentPlan.model_validate_json(plan.model_dump_json())
        *frames, summary = extract(source, probe, travelled, sampling, output or Output(), limits)
        assert isinstance(summary, Summary)
        kept += [frame for frame in frames if isinstance(frame, Kept)]
        summaries.append(summary)
    return Extracted(probe, plans, kept, summaries)


def picture(frame: Kept) -> npt.NDArray[np.uint8]:
    """The JPEG, decoded: uint8 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(frame.jpeg)).convert("RGB"))
