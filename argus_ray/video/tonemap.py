"""HDR to SDR: PQ and HLG pictures in BT.2020 become sRGB pictures in BT.709.

Samples -> light (SMPTE ST 2084; ITU-R BT.2100 with its system gamma of 1.2 for a display of 1000 cd/m2) -> scaled so that
HDR reference white, 203 cd/m2 (ITU-R BT.2408), is a little below SDR white -> BT.709 primaries (ITU-R BT.2087) -> highlights rolled
off -> sRGB transfer (IEC 61966-2-1). The roll-off works on the largest of the three channels, and the others follow by
ratio, so that hues stay. 65,536-entry tables hold the curves: 16-bit input makes them exact.
FFmpeg's own way (zscale, libplacebo) is not in PyAV's wheels; its `tonemap` filter starts from linear light.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
Float32 = npt.NDArray[np.float32]

TRANSFERS: dict[int, Literal["pq", "hlg"]] = {16: "pq", 18: "hlg"}
"""Of the transfer characteristics (ITU-T H.273) those that are HDR."""

_REFERENCE_WHITE = 203.0  # cd/m2
_PEAK = 1000.0  # cd/m2: what graders master for, and HLG's nominal display
_KNEE = 0.6  # of SDR white: below it nothing is changed
_STEPS = 4096  # of the output table, over the square root of light

_BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def to_sdr(rgb: UInt16, kind: Literal["pq", "hlg"]) -> UInt8:
    """Full-range R'G'B' [H, W, 3] uint16 in BT.2020 -> sRGB [H, W, 3] uint8 in BT.709."""
    light = _light(kind)[rgb]
    if kind == "hlg":
        luma = light @ _BT2020_LUMA
        light *= (np.maximum(luma, 1e-6) ** 0.2)[..., None]
        light *= _PEAK / _REFERENCE_WHITE
    light = light @ _BT2020_TO_BT709.T
    np.maximum(light, 0, out=light)
    red, green, blue = light[..., 0], light[..., 1], light[..., 2]
    brightest = np.maximum(np.maximum(red, green), blue)  # an eighth of the time of max(axis=2)
    light *= (_rolled_off(brightest) / np.maximum(brightest, 1e-6))[..., None]
    place = np.sqrt(np.clip(light, 0, 1, out=light), out=light) * (_STEPS - 1) + 0.5
    return _srgb()[place.astype(np.uint16)]


@cache
def _light(kind: Literal["pq", "hlg"]) -> Float32:
    """Linear light of each 16-bit sample: PQ in units of reference white, HLG as scene light from 0 to 1."""
    sample = np.arange(65536, dtype=np.float64) / 65535
    if kind == "pq":
        root = sample ** (32 / 2523)
        candelas = 10_000 * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
        return (candelas / _REFERENCE_WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(sample <= 0.5, sample**2 / 3, (np.exp((sample - c) / a) + b) / 12).astype(np.float32)


def _rolled_off(light: Float32) -> Float32:
    """Identity up to the knee; from there a hyperbola of the same slope that reaches 1 at the peak (ever below it)."""
    peak = _PEAK / _REFERENCE_WHITE
    room = 1 - _KNEE
    # y = knee + room * u (1 + s) / (u + s) with u = (x - knee) / (peak - knee); slope 1 at the knee gives s
    scale = room / (peak - _KNEE)
    s = scale / (1 - scale)
    u = np.clip((light - _KNEE) / (peak - _KNEE), 0, 1)
    return np.where(light <= _KNEE, light, _KNEE + room * u * (1 + s) / (u + s)).astype(np.float32)


@cache
def _srgb() -> UInt8:
    light = (np.arange(_STEPS, dtype=np.float64) / (_STEPS - 1)) ** 2
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(curve * 255).astype(np.uint8)
