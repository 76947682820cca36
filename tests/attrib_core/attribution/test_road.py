"""ROAD against pytorch-grad-cam, given the same noise, and its imputation against the sparse solver of SciPy."""

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution import AttributionSettings, attribute
from attrib_core.attribution.methods import METHODS
from attrib_core.attribution.scores import Scored, score_named
from attrib_core.attribution.scores.imputation import imputed
from attrib_core.attribution.subject import Subject
from attrib_core.prepared import prepare
from attrib_core.seeding import Randomness

SEED = 5
# What NumPy and SciPy say of the peer's calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__"),
    pytest.mark.filterwarnings("ignore:.*sparse"),
]


@pytest.fixture(scope="session")
def peer() -> ModuleType:
    """pytorch-grad-cam's ROAD, whose import must not fail over others' deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_grad_cam.metrics.road as peer
    return peer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ranked(maps: Tensor) -> Tensor:
    """Return maps `[B, H, W]` of the same order, in equal steps, where the peer's thresholds are exact."""
    places = maps.flatten(1).argsort(1).argsort(1)
    return (places.float() / places.shape[1]).view(maps.shape)


def masks(kind: str, count: int, height: int, width: int, share: float) -> Tensor:
    smooth = F.interpolate(drawn(count, 1, 4, 4), (height, width), mode="bicubic")[:, 0]
    fields = smooth if kind == "areas" else drawn(count, height, width)
    return ranked(fields) < share


@pytest.mark.parametrize("kind", ["areas", "points"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 11, 14), (2, 5, 4), (1, 3, 40), (1, 1, 20)])
def test_missing_pixels_are_those_of_the_sparse_system(peer, shape, share, kind) -> None:
    images, missing = drawn(3, *shape), masks(kind, 3, *shape[1:], share)
    found = imputed(images, missing)
    for image, mask, ours in zip(images, missing, found, strict=True):
        theirs = peer.NoisyLinearImputer(noise=0)(image, (~mask).float()) if mask.any() else image
        torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-7)
        assert torch.equal(ours[:, ~mask], image[:, ~mask])


def test_a_large_photograph_is_solved_to_rounding(peer) -> None:
    image, missing = drawn(1, 1, 150, 131), masks("areas", 1, 150, 131, 0.9)
    theirs = peer.NoisyLinearImputer(noise=0)(image[0], (~missing[0]).float())
    torch.testing.assert_close(imputed(image, missing)[0], theirs, rtol=0, atol=5e-7)


def test_neighbours_change_no_bit_of_an_imputation() -> None:
    images = drawn(7, 3, 17, 23)
    missing = torch.cat([masks("areas", 4, 17, 23, 0.9), masks("points", 3, 17, 23, 0.3)])
    together = imputed(images, missing)
    for row in range(7):
        assert torch.equal(imputed(images[row : row + 1], missing[row : row + 1])[0], together[row])
    some = [6, 0, 3]
    assert torch.equal(imputed(images[some], missing[some]), together[some])


def test_a_hole_in_one_grey_is_filled_beside_images_that_take_longer() -> None:
    images = torch.cat([torch.zeros(1, 1, 28, 28), torch.full((1, 1, 28, 28), 0.4), drawn(2, 1, 28, 28)])
    missing = torch.zeros(4, 28, 28, dtype=torch.bool)
    missing[:, 4:20, 4:20] = True
    together = imputed(images, missing)
    torch.testing.assert_close(together[:2], images[:2], rtol=0, atol=1e-6)
    for row in range(4):
        assert torch.equal(imputed(images[row : row + 1], missing[row : row + 1])[0], together[row])


def test_a_plane_is_imputed_exactly_inside() -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(15.0), indexing="ij")
    image = (0.03 * rows + 0.02 * columns)[None, None]
    missing = torch.zeros(1, 12, 15, dtype=torch.bool)
    missing[:, 2:9, 3:12] = True
    torch.testing.assert_close(imputed(image, missing), image, rtol=0, atol=5e-7)


def scored_maps(model, images: Tensor, classes: Tensor, maps: Tensor, keys=None) -> Scored:
    """Maps `[M, B, H, W]` of a model as they reach a score; the first channel holds them."""
    model = prepare(model, device="cpu", batch_size=16)
    values = [torch.cat([each[:, None], torch.zeros_like(images[:, 1:])], 1) for each in maps]
    subject = Subject(
        model=model,
        settings=AttributionSettings(seed=SEED),
        target="label",
        images=model.images(images),
        keys=tuple(keys or range(len(images))),
        classes=classes,
        labels=classes,
        logits=model.exact_logits(images),
        gradients={},
    )
    names = [f"method{number}" for number in range(len(values))]
    methods = dict.fromkeys(names, METHODS["gradient"])
    return Scored(
        subject=subject, methods=methods, values=dict(zip(names, values, strict=True)), classes=classes
    )


@pytest.mark.parametrize(
    ("reference", "percentiles", "noise"),
    [
        ("road", range(10, 100, 10), 0.01),
        ("road:noise=0:percentiles=20+40+60+80", (20, 40, 60, 80), 0),
        ("road:noise=0.2:percentiles=33.3", (33.3,), 0.2),
    ],
)
def test_scores_are_those_of_pytorch_grad_cam(
    peer, small, small_images, reference, percentiles, noise, monkeypatch
) -> None:
    images, classes = small_images
    maps = torch.stack([ranked(drawn(8, 10, 12, seed=seed)) for seed in (1, 2)])
    found = score_named(reference)(scored_maps(small, images, classes, maps))
    draws = Randomness([(SEED, "road", key) for key in range(8)]).normal(3, 10, 12)
    plain = peer.NoisyLinearImputer.__call__

    def with_our_noise(imputer, image: Tensor, mask: Tensor) -> Tensor:
        place = int((images == image).flatten(1).all(1).nonzero()[0, 0])
        imputer.noise = 0
        return plain(imputer, image, mask) + noise * draws[place] * (1 - mask)

    monkeypatch.setattr(peer.NoisyLinearImputer, "__call__", with_our_noise)
    targets = [lambda logits, label=label: logits.softmax(-1)[label] for label in classes.tolist()]
    for place, each in enumerate(maps):
        for column, metric in {
            "road": peer.ROADCombined,
            "road_morf": peer.ROADMostRelevantFirstAverage,
            "road_lerf": peer.ROADLeastRelevantFirstAverage,
        }.items():
            theirs = metric(percentiles=list(percentiles))(images, each.numpy(), targets, small)
            np.testing.assert_allclose(found[column][:, place].numpy(), theirs, rtol=0, atol=1e-6)


def test_constant_maps_and_maps_with_nan_have_no_score(small, small_images) -> None:
    images, classes = small_images
    maps = drawn(1, 8, 10, 12)
    maps[0, 2], maps[0, 5, 0, 0] = 0.25, torch.nan
    found = score_named("road")(scored_maps(small, images, classes, maps))
    for values in found.values():
        assert values.isnan()[:, 0].nonzero().flatten().tolist() == [2, 5]


def test_a_score_does_not_depend_on_batch_or_order(small, small_images) -> None:
    images, classes = small_images
    maps = drawn(2, 8, 10, 12).round(decimals=1)  # with equal pixels, which rank by position
    together = score_named("road")(scored_maps(small, images, classes, maps))
    rows = [6, 1, 4]
    some = score_named("road")(scored_maps(small, images[rows], classes[rows], maps[:1, rows], rows))
    for column, values in some.items():
        assert torch.equal(values[:, 0], together[column][rows, 0])


def test_a_good_ranking_scores_above_its_opposite(fashion, images) -> None:
    found = attribute(fashion, *images, ["integrated_gradients"], scores=["road"])
    assert found.scores["road"].mean() > 0
    assert found.scores["road_morf"].mean() < found.scores["road_lerf"].mean() < 0


@pytest.mark.parametrize("setting", ["percentiles=0+50", "percentiles=50+20", "percentiles=a", "noise=-1"])
def test_settings_that_cannot_be_are_refused(setting) -> None:
    with pytest.raises(ValueError, match=setting.split("=")[0]):
        score_named(f"road:{setting}")
