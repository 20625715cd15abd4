"""A picture that someone sent, as pixels. Its bytes are hostile until proven otherwise."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from argus_ray.errors import InvalidRequest, TooLarge

FORMATS = ("JPEG", "PNG", "WEBP")  # what browsers and phones send; Pillow's rarer readers stay shut


def decode_picture(data: bytes, max_pixels: int, enough: int | None = None) -> NDArray[np.uint8]:
    """JPEG, PNG or WebP -> uint8 [H, W, 3] RGB, upright as its EXIF says; transparency becomes white.

    The size is checked before anything is decoded. A JPEG may come out smaller, though at least `enough` pixels wide and
    high: its decoder can skip what a small model does not see. InvalidRequest for bytes that are no such picture or are broken,
    TooLarge for more pixels than allowed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            raise TooLarge(
                f"the picture has {width} x {height} pixels and the limit is {max_pixels}: make it smaller",
                width=width,
                height=height,
            )
        if enough is not None:
            picture.draft(None, (enough, enough))
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            seen = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
        return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"{_begins(data)}: send a JPEG, PNG or WebP picture") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # how Pillow tells of broken data
        raise InvalidRequest(f"the picture is broken ({error}): send it again, whole") from error


def _begins(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:8].hex(' ')} are no picture" if data else "there are no bytes"
