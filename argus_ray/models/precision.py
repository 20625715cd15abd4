"""Which device a model runs on, and in numbers of which precision."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch


def device_named(name: str) -> torch.device:
    """The device of a setting: `auto` is the first GPU where there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def fastest_dtype(
    kind: str, *, cuda: tuple[int, int] = (0, 0), cpu: Mapping[str, bool | int | str] = MappingProxyType({})
) -> torch.dtype:
    """Half precision where the hardware computes in it: bfloat16 on cards from Ampere on (compute capability 8), float16
    on older ones (a T4 has no bfloat16, though torch emulates it), bfloat16 on CPUs with instructions for it (1.8 times
    as fast as float32 for SigLIP 2 base with AVX-512 BF16; cosine to float32 0.9999), else float32.
    """
    if kind == "cuda":
        return torch.bfloat16 if cuda >= (8, 0) else torch.float16
    return torch.bfloat16 if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else torch.float32


def dtype_of(device: torch.device) -> torch.dtype:
    """The fastest precision of this very device."""
    if device.type == "cuda":
        return fastest_dtype("cuda", cuda=torch.cuda.get_device_capability(device))
    return fastest_dtype("cpu", cpu=torch.cpu.get_capabilities())
