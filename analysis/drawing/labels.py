"""Make names that come from data safe to draw and to use in file names."""

import hashlib
import re
import unicodedata

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

# Shipped with matplotlib, so that a label looks alike on every machine.
FONT_FAMILY = "DejaVu Sans"

_LONGEST = 200


def fit_label(text: str, *, width: float, dpi: float, font_size: float, weight: str = "normal") -> str:
    """Return `text` as one line of at most `width` dots at `font_size` points; a longer one ends in an ellipsis.

    Control characters, those that change the writing direction included, are dropped; a character that the
    font lacks becomes a replacement character. The line runs from left to right whatever script it has.
    """
    line, font = _drawable(text), FontProperties(family=FONT_FAMILY, size=font_size, weight=weight)
    # The renderer rounds every letter to whole dots, so the width in points alone would be a few percent off.
    renderer = RendererAgg(1, 1, dpi)  # type: ignore[no-untyped-call]

    def fits(candidate: str) -> bool:
        drawn, _, _ = renderer.get_text_width_height_descent(candidate, font, False)  # type: ignore[no-untyped-call]
        return bool(drawn <= width)

    if len(line) <= _LONGEST and fits(line):
        return line
    low, high = 0, min(len(line), _LONGEST)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(line[:middle].rstrip() + "…") else (low, middle - 1)
    return line[:low].rstrip() + "…"


def file_stem(text: str) -> str:
    """Return a file name without extension: letters, digits, `-` and `_`; different texts, different names."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:64]
    if stem and stem == text:
        return stem
    return f"{stem}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _drawable(text: str) -> str:
    """Return the text without control characters, with characters that the font lacks replaced."""
    spaced = " ".join(text.split())
    font = get_font(findfont(FontProperties(family=FONT_FAMILY)))
    visible = (character for character in spaced if not unicodedata.category(character).startswith("C"))
    line = "".join(
        character if font.get_char_index(ord(character)) else "\N{REPLACEMENT CHARACTER}"
        for character in visible
    )
    right_to_left = any(unicodedata.bidirectional(character) in ("R", "AL") for character in line)
    # Without the mark, a number in front of a right-to-left name would be drawn behind it.
    return "\N{LEFT-TO-RIGHT MARK}" + line if right_to_left else line
