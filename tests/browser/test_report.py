"""The report as a person meets it: opened from disk in Chromium, searched, filtered, on a phone, by keyboard."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.long

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAGES = ("index.html", "run-0/class-0004.html")

# A busy machine is slow; what hangs is slower.
PATIENCE = 60_000  # milliseconds


@dataclass
class Visit:
    """A page in a browser, and all that must not happen there."""

    page: "Page"
    site: Path
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto((self.site / path).as_uri())

    def shown(self) -> list[str]:
        """The names of the classes that the gallery shows."""
        # Not the inner text: cards that are out of sight are not laid out, and have none.
        return self.gallery().locator(".card:visible b").all_text_contents()

    def gallery(self) -> Any:
        return self.page.locator("[data-gallery='run-0']")


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    """Fails at its end if anything was requested that is no file of the report, or complained about."""
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(PATIENCE)
    visit = Visit(context.new_page(), report)
    visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("requestfailed", lambda request: note_failure(visit, request.url, request.failure))
    visit.page.on("request", lambda request: note_request(visit, request.url))
    yield visit
    context.close()
    assert visit.complaints == []


def note_request(visit: Visit, url: str) -> None:
    if not url.startswith(visit.site.as_uri()):
        visit.complaints.append(f"request: {url}")


def note_failure(visit: Visit, url: str, failure: str | None) -> None:
    # Leaving a page stops what it was loading.
    if failure != "net::ERR_ABORTED":
        visit.complaints.append(f"{failure}: {url}")


def test_a_class_is_found_by_name_index_and_wnid(visit: Visit) -> None:
    visit.open("index.html")
    search = visit.gallery().get_by_label("Find a class")
    for query, found in [("ANIMAL 17", "animal 17"), ("17", "animal 17"), ("n00000017", "animal 17")]:
        search.fill(query)
        assert visit.shown() == [found]
        assert visit.gallery().get_by_role("status").inner_text() == "1 of 60 classes"
    search.fill("no such thing")
    assert visit.shown() == []
    assert visit.gallery().get_by_text("No class matches.").is_visible()
    search.fill("")
    assert len(visit.shown()) == 60


def test_verdicts_and_recipes_filter_the_gallery(visit: Visit) -> None:
    visit.open("index.html")
    gallery = visit.gallery()
    gallery.get_by_label("Verdict").select_option("wrong")
    assert visit.shown() == [f"animal {index}" for index in (0, 10, 20, 30, 40, 50)]
    assert "lite1 takes for another class" in gallery.get_by_role("status").inner_text()
    gallery.get_by_label("Judge").select_option("lite2")
    assert visit.shown() == []
    gallery.get_by_label("Judge").select_option("lite1")
    gallery.get_by_label("Recipe").select_option("<b>plain</b>")
    assert len(visit.shown()) == 60
    first = gallery.locator(".card").first
    first.scroll_into_view_if_needed()
    first.locator(".marks .wrong").first.wait_for(state="attached")
    assert first.locator("img").get_attribute("alt") == "animal 0, <b>plain</b>: 0 of 3 right"
    assert first.locator(".marks .wrong").count() == 3


def test_all_recipes_stand_side_by_side(visit: Visit) -> None:
    visit.open("index.html")
    visit.gallery().get_by_label("Recipe").select_option("all")
    first = visit.gallery().locator(".card").first
    first.scroll_into_view_if_needed()
    first.locator("img").nth(1).wait_for()
    assert first.locator("img").count() == 2
    assert first.locator(".strip-name").all_inner_texts() == ["default", "<b>plain</b>"]


def test_from_the_gallery_to_a_class_and_back_to_what_was_chosen(visit: Visit) -> None:
    visit.open("index.html")
    visit.gallery().get_by_label("Find a class").fill("animal 12")
    visit.gallery().get_by_role("link", name="animal 12").click()
    assert visit.page.get_by_role("heading", level=1).inner_text() == "animal 12"
    visit.page.locator("figure img").first.scroll_into_view_if_needed()
    wait_for_pictures(visit.page)
    visit.page.get_by_role("link", name="Next").click()
    assert visit.page.get_by_role("heading", level=1).inner_text() == "animal 13"
    visit.page.go_back()
    visit.page.go_back()
    assert visit.shown() == ["animal 12"]


def test_pictures_near_the_reader_load_and_far_ones_wait(visit: Visit) -> None:
    visit.open("index.html")
    visit.gallery().scroll_into_view_if_needed()
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
    assert "../../../etc/passwd" in visit.shown()
    assert "<script>document.title = 'owned'</script>" in visit.shown()
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
        visit.gallery().get_by_label("Recipe").select_option("all")
        assert scroll_width(visit.page) == PHONE["width"]


def scroll_width(page: "Page") -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_serious_fault(visit: Visit, path: str, scheme: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    visit.page.emulate_media(color_scheme=scheme)
    visit.open(path)
    visit.page.locator("details").evaluate_all("folds => folds.forEach(fold => { fold.open = true })")
    # Not fetching style sheets, which pages from disk may not.
    violations = axe.Axe().run(visit.page, options={"preload": False}).response["violations"]
    grave = [fault for fault in violations if fault["impact"] in ("serious", "critical")]
    assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in grave] == []


def test_the_keyboard_reaches_the_content_and_the_gallery(visit: Visit) -> None:
    visit.open("index.html")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "content"
    visit.gallery().get_by_label("Find a class").focus()
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
    assert not visit.gallery().get_by_label("Find a class").is_visible()
    assert not visit.page.get_by_role("navigation", name="Sections").is_visible()
    assert len(visit.shown()) == 60
