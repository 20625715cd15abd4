"""Pictures as a model of square pictures wants them: squashed, scaled and shifted by the numbers of its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AutoImageProcessor

from argus_ray.errors import ModelUnsupported

_RESIZE = {2: "bilinear", 3: "bicubic"}  # the processor's numbers are PIL's


class Pixels:
    """uint8 [N, H, W, 3] -> what the model sees [N, 3, S, S], on the device, by the numbers of the folder's processor."""

    def __init__(self, folder: Path, size: int, device: torch.device, dtype: torch.dtype) -> None:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        wanted = (processor.size["height"], processor.size["width"])
        if wanted != (size, size) or int(processor.resample) not in _RESIZE:
            raise ModelUnsupported(
                f"the processor in {folder} makes {wanted} pixels by filter {int(processor.resample)}, and the model takes "
                f"{size} x {size} by bilinear (2) or bicubic (3): fix its preprocessor_config.json"
            )
        self.size, self.device, self.dtype = size, device, dtype
        self.filter = _RESIZE[int(processor.resample)]
        mean = torch.tensor(processor.image_mean, device=device).view(3, 1, 1)
        std = torch.tensor(processor.image_std, device=device).view(3, 1, 1)
        self.scale, self.shift = processor.rescale_factor / std, -mean / std

    def squash(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures of any size uint8 [N, H, W, 3] -> [N, S, S, 3], without regard to their shape, as the models were
        trained. Those that have the size already are not copied.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(f"pictures must be uint8 [N, H, W, 3], and these are {pixels.dtype} {list(pixels.shape)}")
        if len(pixels) == 0 or pixels.shape[1:3] == (self.size, self.size):
            return pixels
        values = _tensor(pixels).permute(0, 3, 1, 2)
        squashed = F.interpolate(values, (self.size, self.size), mode=self.filter, antialias=True)
        square: NDArray[np.uint8] = squashed.permute(0, 2, 3, 1).contiguous().numpy()
        return square

    def __call__(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Squashed pictures as the model's numbers."""
        values = _tensor(pixels).to(self.device).permute(0, 3, 1, 2).float()
        seen: torch.Tensor = (values * self.scale + self.shift).to(self.dtype)
        return seen


def _tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    # Ray hands out read-only arrays, of which torch warns although nothing is written here.
    return torch.from_numpy(pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy())
