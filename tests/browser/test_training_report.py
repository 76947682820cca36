"""Attribution, static and along training, in a report of real runs: a video plays, maps lie on images."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.attribution.attributions import attribution_rows
from analysis.attribution.scores import attribution_scores
from analysis.report.__main__ import main

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}
PAGES = ("index.html", "claims.html")

SUMS = "training_integrated_gradient,gradient_variance"
SWEEPS = {
    "training": "attribute_training.py --batch-size 512 --segment 60 --panel 0-3 --every 4"
    f" --methods gradient_x_input,loss_gradient,{SUMS}",
    "static": "attribute_all.py --images 0-63 --methods gradient_x_input,integrated_gradients,occlusion",
}

# The page's policy forbids what Playwright's own waiting does: evaluating a text again and again.
UNTIL_LOADED = """(video) => new Promise((done) => {
  if (video.readyState >= 1) done(); else video.addEventListener("loadedmetadata", done);
})"""
UNTIL_PLAYED = """(video) => new Promise((done) => {
  video.addEventListener("timeupdate", () => { if (video.currentTime > 0.4) done(); });
})"""

Invite = Callable[..., Any]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both kinds of attribution, just run on Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("attribution")
    environment = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, command in SWEEPS.items():
        words = [*command.split(), "--output", str(folder / name), "--address", "local", "--num-workers", "1"]
        made = subprocess.run(
            [sys.executable, f"sweeps/{words[0]}", *words[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
    main([*(str(folder / name) for name in SWEEPS), "--output", str(folder / "site")])
    return folder / "site"


@pytest.mark.parametrize("kind", ["video/mp4", "video/webm"])
def test_the_video_plays_its_first_frames(invite: Invite, site: Path, kind: str) -> None:
    guest = invite(site)
    guest.open()
    video = guest.page.locator("#run-0 video")
    video.locator(f"source:not([type='{kind}'])").evaluate("(source) => source.remove()")
    video.evaluate("(video) => video.load()")
    video.scroll_into_view_if_needed()
    video.evaluate(UNTIL_LOADED)
    assert video.evaluate("(video) => video.currentSrc").endswith(f".{kind.rpartition('/')[2]}")
    assert video.evaluate("(video) => [video.videoWidth, video.videoHeight]") == [
        int(video.get_attribute("width")),
        int(video.get_attribute("height")),
    ]
    # 119 states, each fourth and the last: 12 frames a second.
    assert video.evaluate("(video) => video.duration") == pytest.approx(31 / 12, abs=0.1)
    video.focus()
    guest.page.keyboard.press("Space")
    video.evaluate(UNTIL_PLAYED)
    assert video.evaluate("(video) => video.getVideoPlaybackQuality().totalVideoFrames") >= 3
    assert video.evaluate("(video) => video.error") is None


def test_before_it_plays_a_poster_is_shown(invite: Invite, site: Path) -> None:
    guest = invite(site)
    guest.open()
    poster = guest.page.locator("#run-0 video").get_attribute("poster")
    assert (site / str(poster)).stat().st_size < 200_000
    small = sum(file.stat().st_size for file in site.rglob("video.*"))
    assert small < 3_000_000


@pytest.mark.parametrize("scripts", [True, False])
def test_maps_are_laid_on_the_images_with_and_without_scripts(
    invite: Invite, site: Path, scripts: bool
) -> None:
    guest = invite(site, java_script_enabled=scripts)
    guest.open()
    tiles = guest.page.locator("#run-1 .tiles")
    assert tiles.locator("img.map").first.is_visible()
    assert not tiles.locator("img.overlay").first.is_visible()
    tiles.get_by_label("on the images").check()
    assert tiles.locator("img.overlay").first.is_visible()
    assert not tiles.locator("img.map").first.is_visible()
    # The other run's are as they were.
    assert guest.page.locator("#run-0 img.map").first.is_visible()
    tiles.get_by_label("maps", exact=True).focus()
    guest.page.keyboard.press("Space")
    assert tiles.locator("img.map").first.is_visible()


def test_the_downloaded_scores_are_those_of_pandas(invite: Invite, site: Path, tmp_path: Path) -> None:
    guest = invite(site, accept_downloads=True)
    guest.open()
    with guest.page.expect_download() as download:
        guest.page.get_by_role("link", name="scores as CSV").click()
    download.value.save_as(tmp_path / "scores.csv")
    expected = attribution_scores(attribution_rows(site.parent / "static"))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), expected, check_dtype=False)


def test_the_claims_are_a_page_away(invite: Invite, site: Path) -> None:
    guest = invite(site)
    guest.open()
    guest.page.get_by_role("link", name="All claims").click()
    assert guest.page.get_by_role("heading", level=1).inner_text() == "Claims"
    assert guest.page.get_by_text("run training").count() > 0
    guest.page.get_by_role("link", name="Report").click()
    guest.page.wait_for_url("**/index.html#claims")


@pytest.mark.parametrize("path", PAGES)
def test_nothing_scrolls_sideways_on_a_phone(invite: Invite, site: Path, path: str) -> None:
    guest = invite(site)
    guest.page.set_viewport_size(PHONE)
    guest.open(path)
    guest.unfold()
    assert guest.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_serious_fault(invite: Invite, site: Path, path: str, scheme: Any) -> None:
    guest = invite(site)
    guest.page.emulate_media(color_scheme=scheme)
    guest.open(path)
    assert guest.grave_faults() == []
