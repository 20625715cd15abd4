import io

import numpy as np
import pytest
from PIL import Image

from argus_ray.errors import InvalidRequest, TooLarge
from argus_ray.models.pictures import decode_picture


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def half_red(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), "blue")
    picture.paste("red", (0, 0, width // 2, height))
    return picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_browsers_send_is_read(kind):
    pixels = decode_picture(encoded(half_red(), kind, quality=95), max_pixels=10_000)
    assert pixels.shape == (20, 40, 3)
    assert pixels[10, 5, 0] > 200
    assert pixels[10, 5, 2] < 60


def test_a_picture_is_turned_upright_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    pixels = decode_picture(encoded(half_red(), "JPEG", exif=exif.tobytes(), quality=95), max_pixels=10_000)
    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 10, 0] > 200  # the left is on top now
    assert pixels[35, 10, 2] > 200


def test_transparency_becomes_white():
    for picture in (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), Image.new("LA", (4, 4), (0, 0))):
        assert decode_picture(encoded(picture), max_pixels=100).min() == 255


@pytest.mark.parametrize("mode", ["L", "1", "P", "I;16", "CMYK"])
def test_every_kind_of_colour_becomes_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_picture(encoded(Image.new(mode, (8, 6)), kind), max_pixels=100).shape == (6, 8, 3)


def test_a_large_jpeg_is_decoded_no_larger_than_needed():
    pixels = decode_picture(encoded(half_red(1600, 1200), "JPEG"), max_pixels=10**7, enough=256)
    assert pixels.shape == (300, 400, 3)


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded():
    with pytest.raises(TooLarge, match="40 x 20 pixels and the limit is 799"):
        decode_picture(encoded(half_red()), max_pixels=799)


def test_a_header_that_claims_a_huge_picture_is_refused():
    data = bytearray(encoded(half_red()))
    data[16:24] = (100_000).to_bytes(4) * 2  # IHDR: width, height; its checksum is now wrong as well
    with pytest.raises((InvalidRequest, TooLarge)):
        decode_picture(bytes(data), max_pixels=10**7)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), b"%PDF-1.7", bytes(100)])
def test_what_is_no_picture_is_refused_and_told_from_its_first_bytes(data):
    with pytest.raises(InvalidRequest, match="send a JPEG, PNG or WebP" if data else "no bytes"):
        decode_picture(data, max_pixels=10_000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_half_a_picture_is_refused(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(InvalidRequest):
        decode_picture(data[: len(data) // 2], max_pixels=10_000)
