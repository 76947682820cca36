"""Weights that a file holds in factors: a pruning mask, a weight norm, a spectral norm, adapters.

The network that was trained multiplied them at each pass. The product is what it computed with, so that is read. A
file whose product is not known is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib_core.classifiers.checkpoint_contents import tensors_in

FACTORS = re.compile(r".*(_orig|_mask|_g|\.parametrizations\..*)")
PARAMETRIZED = re.compile(r"(?:.*\.)?parametrizations\..*")
# Adapters beside the weights, as peft and loralib name them; what they add has a scale that is in no tensor.
ADAPTER = re.compile(
    r"(?:.*[._])?(lora_(A|B|up|down|embedding\w*|magnitude\w*)|ia3_l|hada_w\w+|lokr_w\w+)(\..*)?"
)

# Between u and W v of a spectral norm. In training each pass makes u of W v; a step of W later they still agree.
LEAST_COSINE = 0.95

Leaves = Mapping[str, Any]
Factors = tuple[str, ...]


def with_products(leaves: Leaves, own: Leaves) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a file holds with each weight in place of its factors, and notes on what was multiplied.

    A network whose own state dict has factors (`own`) takes them as they are. Raises ValueError for a
    parametrisation whose weight is not known.
    """
    if any(FACTORS.fullmatch(name) for name in own):
        return dict(leaves), ()
    products, notes = dict(leaves), []
    for kind, (first, others, multiply) in KINDS.items():
        found: list[_Product] = []
        for path in tensors_in(products):
            stem = re.fullmatch(rf"((?:.*\.)?){first}", path)
            if stem and (product := _product(products, stem, others, multiply)) is not None:
                found.append(product)
        if found:
            products = _replaced(products, found)
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            notes.append(f"{found[0].name}{more}: {kind}")
    if left := [path for path in products if PARAMETRIZED.fullmatch(path)]:
        raise ValueError(
            f"{left[0]}: a parametrisation whose weight is not in the file; accepted is what is saved after "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    return products, tuple(notes)


def check_no_adapters(leaves: Leaves) -> None:
    """Raise ValueError for adapters that are not merged into the weights."""
    if adapters := [path for path in tensors_in(leaves) if ADAPTER.fullmatch(path)]:
        raise ValueError(
            f"{adapters[0]}: one of {len(adapters)} tensors of adapters (LoRA), whose scale is not in the file; "
            "accepted are weights that they are merged into (merge_and_unload of peft)"
        )


@dataclass(frozen=True)
class _Product:
    name: str
    values: Tensor
    factors: tuple[str, ...]  # their paths; the first one is where the product comes to stand


def _product(
    leaves: Leaves, stem: "re.Match[str]", others: Factors, multiply: Callable[..., Tensor | None]
) -> _Product | None:
    """Return the product of a weight's factors; None if they are not of this kind."""
    module, weight = stem[1], stem[2]
    paths = (stem[0], *(module + other.format(weight) for other in others))
    factors = [leaves.get(path) for path in paths]
    if module + weight in leaves or not all(isinstance(factor, Tensor) for factor in factors):
        return None
    values = multiply(*factors)
    return None if values is None else _Product(module + weight, values, paths)


def _replaced(leaves: Leaves, products: Sequence[_Product]) -> dict[str, Any]:
    """Return the leaves with each product at the place of its first factor, and without the factors."""
    places = {product.factors[0]: product for product in products}
    gone = {path for product in products for path in product.factors[1:]}
    named = ((path, leaf, places.get(path)) for path, leaf in leaves.items() if path not in gone)
    return {(made.name if made else path): (made.values if made else leaf) for path, leaf, made in named}


def _masked(original: Tensor, mask: Tensor) -> Tensor | None:
    return original * mask if original.shape == mask.shape else None


def _weight_normed(length: Tensor, direction: Tensor) -> Tensor | None:
    """Return g v / ‖v‖, the norm over all dimensions that g has one number for."""
    if length.ndim and length.ndim != direction.ndim:
        return None
    if any(own not in (1, other) for own, other in zip(length.shape, direction.shape, strict=False)):
        return None
    if sum(own != 1 for own in length.shape) > 1:  # a weight norm keeps one dimension, or none
        return None
    over = [dim for dim in range(direction.ndim) if not length.ndim or length.shape[dim] == 1]
    # Without a dimension torch's norm is over all of them.
    norm: Tensor = torch.linalg.vector_norm(direction, dim=over, keepdim=True) if over else direction.abs()
    return direction * (length / norm)


def _spectral_normed(original: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    """Return W / (uᵀ W v), as in eval mode, where u and v stay."""
    matrix = original.flatten(1) if original.ndim > 1 else original
    if matrix.ndim != 2 or (left.shape, right.shape) != (matrix.shape[:1], matrix.shape[1:]):
        return None
    image: Tensor = matrix @ right
    sigma: Tensor = torch.dot(left, image)
    # A norm over another dimension has factors of the same shapes where both are equally long.
    return original / sigma if sigma > LEAST_COSINE * torch.linalg.vector_norm(image) else None


# By what is said of it: a pattern of the first factor, the others, and how they are multiplied.
KINDS: dict[str, tuple[str, Factors, Callable[..., Tensor | None]]] = {
    "pruned, read as weight_orig times weight_mask": (r"(\w+)_orig", ("{0}_mask",), _masked),
    "a spectral norm, read as weight_orig over its largest singular value": (
        r"(\w+)_orig",
        ("{0}_u", "{0}_v"),
        _spectral_normed,
    ),
    "a weight norm, read as weight_g times the direction of weight_v": (
        r"(\w+)_g",
        ("{0}_v",),
        _weight_normed,
    ),
    "a spectral norm of torch.nn.utils.parametrizations": (
        r"parametrizations\.(\w+)\.original",
        ("parametrizations.{0}.0._u", "parametrizations.{0}.0._v"),
        _spectral_normed,
    ),
    "a weight norm of torch.nn.utils.parametrizations": (
        r"parametrizations\.(\w+)\.original0",
        ("parametrizations.{0}.original1",),
        _weight_normed,
    ),
}
