"""Text on pictures, in whatever script a label is named.

Pillow brings one font, Aileron, with the letters of English. For any other the machine's own fonts are asked, by the file
names that systems give them; none is shipped with Argus (one that has Chinese, Japanese and Korean alone is 16 MB). Where
no font here can draw a character, an accented letter is written without its accent and anything else as its code, such as
U+8ECA: ugly, and never an empty square that could be anything. On a server, installing packages such as
fonts-dejavu-core and fonts-noto-cjk is all it takes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf", "segoeui.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "DroidSansFallbackFull.ttf", "wqy-zenhei.ttc",
    "wqy-microhei.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "msyh.ttc", "YuGothM.ttc", "malgun.ttf",
    "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf", "NotoSansBengali-Regular.ttf", "NotoSansTamil-Regular.ttf", "Nirmala.ttf",
)  # fmt: skip
_PROBE_SIZE = 16
_NOWHERE = "\U0010fffe"  # no character, and never one


def fit(text: str, size: int) -> tuple[str, Font]:
    """The text as it can be drawn, and the font to draw it with, `size` pixels high.

    The font that has the most of its characters; what even that has not is written as codes.
    """
    best = max(_names(), key=lambda name: sum(_has(name, character) for character in text))  # the first of equals
    return "".join(_written(best, text)), font(best, size)


def _written(name: str, text: str) -> Iterator[str]:
    is_drawn = True
    for character in text:
        if unicodedata.category(character).startswith("M"):  # a mark goes with its letter
            yield character if is_drawn else ""
        elif is_drawn := _has(name, character):
            yield character
        else:
            base = unicodedata.normalize("NFD", character)[0]
            yield base if _has(name, base) else f"U+{ord(character):04X}"


@cache
def font(name: str, size: int) -> Font:
    """By a file name that the system knows, or the one that Pillow brings for ""."""
    found = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise TypeError("this build of Pillow cannot draw text (FreeType is missing): install Pillow from its wheel")
    return found


@cache
def _names() -> tuple[str, ...]:
    return ("", *(name for name in _FONTS if _exists(name)))


def _exists(name: str) -> bool:
    try:
        ImageFont.truetype(name, _PROBE_SIZE)
    except OSError:
        return False
    return True


@cache
def _has(name: str, character: str) -> bool:
    """A font draws what it lacks as it draws what no font has."""
    if not character.isprintable():
        return False
    return character == " " or _pixels(name, character) != _pixels(name, _NOWHERE)


@cache
def _pixels(name: str, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(name, _PROBE_SIZE).getmask(character)
    return mask.size, bytes(mask)
