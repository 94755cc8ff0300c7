"""Draws an image in the terminal: two pixels per character, as the half block and its background."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError
from rich.style import Style
from rich.text import Text

_HALF_BLOCK: Final = "▀"


def draw(file: Path, *, columns: int = 48) -> Text | None:
    """Returns a picture of an image, or None for a file that is none (a video, say)."""
    try:
        with Image.open(file) as opened:
            width, height = opened.size
            rows = max(2, round(columns * height / width / 2) * 2)
            small = opened.convert("RGB").resize((columns, rows))
    except (UnidentifiedImageError, OSError):
        return None
    text = Text(no_wrap=True)
    for row in range(0, rows, 2):
        for column in range(columns):
            top, bottom = _colour(small, column, row), _colour(small, column, row + 1)
            text.append(_HALF_BLOCK, Style(color=top, bgcolor=bottom))
        text.append("\n")
    return text


def _colour(image: Image.Image, column: int, row: int) -> str:
    pixel = image.getpixel((column, row))
    if not isinstance(pixel, tuple):
        raise TypeError("an RGB image has three values per pixel")
    return "#{:02x}{:02x}{:02x}".format(*pixel[:3])
