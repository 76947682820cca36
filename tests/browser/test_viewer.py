"""The viewer as a person uses it: filters by clicks, an image by its address, a phone, and what axe finds."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.run import open_runs

pytestmark = pytest.mark.long

PHONE = {"width": 400, "height": 844}
IMAGE = "run/0/image/default%2F7%2F1"

Visit = Any  # a guest, see conftest.py


@dataclass
class Address:
    """Where the pages are, in place of a folder."""

    url: str

    def as_uri(self) -> str:
        return self.url


@pytest.fixture(scope="module")
def address(report: Path) -> Iterator[Address]:
    """The viewer of the run that the report beside it is of."""
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    from analysis.serve.database import Database
    from analysis.serve.server import ViewerServer, open_viewer

    with ViewerServer(0) as server, Database() as database:
        server.viewer = open_viewer(open_runs([report.parent / "finished"]), database, title="Runs")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Address(server.url)
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(invite: Callable[..., Visit], address: Address) -> Visit:
    visit = invite(address)
    visit.page.goto(address.url)
    return visit


def test_filters_are_ticked_and_an_image_is_reached(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("link", name="finished").click()
    page.get_by_role("group", name="seed", exact=True).get_by_label("1", exact=True).check()
    page.get_by_role("group", name="recipe").get_by_label("default").check()
    page.get_by_role("button", name="Show").click()
    assert page.get_by_role("status").inner_text() == "60 rows of 360"
    assert "recipe=default" in page.url
    assert "=&" not in page.url, "empty fields of the form stay out of the address"
    page.get_by_role("link", name="recipe is default").click()
    assert page.get_by_role("status").inner_text() == "120 rows of 360"
    page.get_by_role("link", name="default/7/1").click()
    assert page.url.endswith(IMAGE)
    assert page.get_by_role("heading", level=1).inner_text() == "default/7/1"
    picture = page.locator("main img").first
    page.wait_for_function("image => image.naturalWidth === 32", arg=picture.element_handle())


@pytest.mark.parametrize("path", ["", "run/0?histogram=probability&recipe=default", IMAGE])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_a_phone(
    visit: Visit, address: Address, path: str
) -> None:
    visit.page.set_viewport_size(PHONE)
    visit.page.goto(address.url + path)
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        assert visit.grave_faults() == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visit.page.title() != "owned"
