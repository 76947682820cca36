import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.drawing.labels import file_stem, fit_label

HOSTILE = [
    "x" * 300,
    "W" * 100_000,
    "$x^2$ \\frac{",
    "$",
    "../../etc/passwd",
    "שלום " * 80,
    "日本語",
    "a\nb\x00c",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_drawn_within_its_width_without_a_warning(text: str) -> None:
    figure = Figure(dpi=120)
    canvas = FigureCanvasAgg(figure)
    label = fit_label(text, width=200, dpi=120, font_size=7)
    drawn = figure.text(0, 0.5, label, size=7, family="DejaVu Sans", parse_math=False)
    assert drawn.get_window_extent(canvas.get_renderer()).width <= 201


def test_a_name_that_fits_stays_as_it_is() -> None:
    assert fit_label("207 golden retriever", width=400, dpi=120, font_size=7) == "207 golden retriever"


def test_a_cut_name_ends_in_an_ellipsis() -> None:
    label = fit_label("great white shark", width=60, dpi=120, font_size=7)
    assert label.endswith("…")
    assert label.startswith("gre")


def test_characters_that_change_the_writing_direction_are_dropped() -> None:
    assert fit_label("a\u202eb\u2066c", width=400, dpi=120, font_size=7) == "abc"


def test_a_right_to_left_name_keeps_its_number_in_front() -> None:
    assert fit_label("5 שלום", width=400, dpi=120, font_size=7).startswith("\N{LEFT-TO-RIGHT MARK}5")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_file_stem_is_a_plain_short_name(text: str) -> None:
    stem = file_stem(text)
    assert 0 < len(stem) <= 80
    assert stem.replace("-", "").replace("_", "").isalnum()


def test_different_texts_have_different_file_stems() -> None:
    assert len({file_stem(text) for text in ["a/b", "a-b", "a b", "a_b", "", "-"]}) == 6
    assert file_stem("blur_resize") == "blur_resize"
