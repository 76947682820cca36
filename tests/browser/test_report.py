"""The report as a person meets it: opened from disk in Chromium, searched, filtered, on a phone, by keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.long

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAGES = ("index.html", "run-0/class-0004.html")

Visit = Any  # a guest, see conftest.py


@pytest.fixture
def visit(invite: Callable[..., Visit], report: Path) -> Visit:
    return invite(report)


def gallery(visit: Visit) -> Any:
    return visit.page.locator("[data-gallery='run-0']")


def shown(visit: Visit) -> list[str]:
    """The names of the classes that the gallery shows."""
    # Not the inner text: cards that are out of sight are not laid out, and have none.
    names: list[str] = gallery(visit).locator(".card:visible b").all_text_contents()
    return names


def test_a_class_is_found_by_name_index_and_wnid(visit: Visit) -> None:
    visit.open("index.html")
    search = gallery(visit).get_by_label("Find a class")
    for query, found in [("ANIMAL 17", "animal 17"), ("17", "animal 17"), ("n00000017", "animal 17")]:
        search.fill(query)
        assert shown(visit) == [found]
        assert gallery(visit).get_by_role("status").inner_text() == "1 of 60 classes"
    search.fill("no such thing")
    assert shown(visit) == []
    assert gallery(visit).get_by_text("No class matches.").is_visible()
    search.fill("")
    assert len(shown(visit)) == 60


def test_verdicts_and_recipes_filter_the_gallery(visit: Visit) -> None:
    visit.open("index.html")
    cards = gallery(visit)
    cards.get_by_label("Verdict").select_option("wrong")
    assert shown(visit) == [f"animal {index}" for index in (0, 10, 20, 30, 40, 50)]
    assert "lite1 takes for another class" in cards.get_by_role("status").inner_text()
    cards.get_by_label("Judge").select_option("lite2")
    assert shown(visit) == []
    cards.get_by_label("Judge").select_option("lite1")
    cards.get_by_label("Recipe").select_option("<b>plain</b>")
    assert len(shown(visit)) == 60
    first = cards.locator(".card").first
    first.scroll_into_view_if_needed()
    first.locator(".marks .wrong").first.wait_for(state="attached")
    assert first.locator("img").get_attribute("alt") == "animal 0, <b>plain</b>: 0 of 3 right"
    assert first.locator(".marks .wrong").count() == 3


def test_all_recipes_stand_side_by_side(visit: Visit) -> None:
    visit.open("index.html")
    gallery(visit).get_by_label("Recipe").select_option("all")
    first = gallery(visit).locator(".card").first
    first.scroll_into_view_if_needed()
    first.locator("img").nth(1).wait_for()
    assert first.locator("img").count() == 2
    assert first.locator(".strip-name").all_inner_texts() == ["default", "<b>plain</b>"]


def test_from_the_gallery_to_a_class_and_back_to_what_was_chosen(visit: Visit) -> None:
    visit.open("index.html")
    gallery(visit).get_by_label("Find a class").fill("animal 12")
    gallery(visit).get_by_role("link", name="animal 12").click()
    assert visit.page.get_by_role("heading", level=1).inner_text() == "animal 12"
    visit.page.locator("figure img").first.scroll_into_view_if_needed()
    wait_for_pictures(visit.page)
    visit.page.get_by_role("link", name="Next").click()
    assert visit.page.get_by_role("heading", level=1).inner_text() == "animal 13"
    visit.page.go_back()
    visit.page.go_back()
    assert shown(visit) == ["animal 12"]


def test_pictures_near_the_reader_load_and_far_ones_wait(visit: Visit) -> None:
    visit.open("index.html")
    gallery(visit).scroll_into_view_if_needed()
    wait_for_pictures(visit.page)
    loaded = visit.page.evaluate("[...document.images].filter((image) => image.naturalWidth > 0).length")
    assert 0 < loaded < visit.page.evaluate("document.images.length")


def wait_for_pictures(page: "Page") -> None:
    """Waits until a picture that is seen has been decoded."""
    page.wait_for_function(
        "[...document.images].some((image) => image.complete && image.naturalWidth > 0 "
        "&& image.getBoundingClientRect().top < innerHeight)"
    )


def test_hostile_names_are_shown_as_they_are_and_do_nothing(visit: Visit) -> None:
    visit.open("index.html")
    assert "../../../etc/passwd" in shown(visit)
    assert "<script>document.title = 'owned'</script>" in shown(visit)
    for index in range(3, 9):
        visit.open(f"run-0/class-{index:04d}.html")
        visit.page.get_by_role("heading", level=1).hover()
        assert visit.page.title().endswith(" · finished")
        assert scroll_width(visit.page) <= WIDE["width"]


@pytest.mark.parametrize("path", [*PAGES, "run-0/class-0007.html"])
def test_nothing_scrolls_sideways_on_a_phone(visit: Visit, path: str) -> None:
    visit.page.set_viewport_size(PHONE)
    visit.open(path)
    assert scroll_width(visit.page) == PHONE["width"]
    if path == "index.html":
        gallery(visit).get_by_label("Recipe").select_option("all")
        assert scroll_width(visit.page) == PHONE["width"]


def scroll_width(page: "Page") -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_serious_fault(visit: Visit, path: str, scheme: Any) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    visit.open(path)
    assert visit.grave_faults() == []


def test_the_keyboard_reaches_the_content_and_the_gallery(visit: Visit) -> None:
    visit.open("index.html")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "content"
    gallery(visit).get_by_label("Find a class").focus()
    visit.page.keyboard.type("animal 33")
    for _ in range(4):
        visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/class-0033.html")


def test_without_scripts_the_gallery_is_a_plain_list(browser: "Browser", report: Path) -> None:
    context = browser.new_context(viewport=WIDE, java_script_enabled=False)
    page = context.new_page()
    page.goto((report / "index.html").as_uri())
    assert page.locator("[data-gallery='run-0'] .card:visible").count() == 60
    assert page.get_by_role("searchbox").count() == 0
    context.close()


def test_the_reader_is_told_what_is_missing_and_what_failed(visit: Visit) -> None:
    visit.open("index.html")
    assert visit.page.get_by_text("unfinished is unfinished. 1 of 24 planned shards").is_visible()
    visit.page.get_by_role("link", name="what went wrong in unfinished").click()
    visit.page.get_by_text("RuntimeError: no").first.click()
    assert visit.page.get_by_label("Traceback of shard-x").is_visible()


def test_print_shows_the_gallery_without_its_controls(visit: Visit, tmp_path: Path) -> None:
    visit.open("index.html")
    visit.page.emulate_media(media="print")
    assert not gallery(visit).get_by_label("Find a class").is_visible()
    assert not visit.page.get_by_role("navigation", name="Sections").is_visible()
    assert len(shown(visit)) == 60
