"""Whether a judge is of the generating model's own architecture family, and where that is said."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from analysis.generation.families import architecture_family, family_notes
from analysis.generation.judge_accuracy import main

MakeRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("efficientnet_lite0", "efficientnet_lite1"),
        ("efficientnet_lite0", "timm:tf_efficientnet_b0.ns_jft_in1k"),
        ("efficientnet_lite0:weights=a.safetensors", "torchvision:efficientnet_v2_s"),
        ("timm:resnet50", "torchvision:resnet18"),
        ("timm:seresnext50_32x4d", "torchvision:wide_resnet50_2:IMAGENET1K_V2"),
        ("hf-hub:timm/resnet50.a1_in1k", "timm:resnetv2_50x1_bit.goog_in21k"),
        ("transformers:microsoft/resnet-50", "timm:resnet18"),
        ("timm:vit_base_patch16_224", "torchvision:vit_b_16"),
        ("transformers:google/vit-base-patch16-224", "timm:deit_tiny_patch16_224"),
        ("torchvision:googlenet", "torchvision:inception_v3"),
        ("fashion_alexnet", "torchvision:alexnet"),
        ("net.py:make_net:depth=3", "net.py:make_net:weights=other.safetensors"),
        ("fashion_deep", "fashion_deep:weights=other.safetensors"),
    ],
)
def test_one_family(one: str, other: str) -> None:
    assert architecture_family(one) == architecture_family(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("efficientnet_lite0", "timm:resnet50"),
        ("efficientnet_lite0", "timm:mobilenetv3_large_100"),
        ("timm:vit_base_patch16_224", "timm:swin_tiny_patch4_window7_224"),
        ("timm:vit_base_patch16_224", "timm:maxvit_tiny_tf_224"),
        ("timm:convnext_tiny", "timm:resnext50_32x4d"),
        ("timm:inception_resnet_v2", "timm:resnet50"),
        ("torchvision:vgg16_bn", "timm:repvgg_a0"),
        ("fashion_deep", "fashion_alexnet"),
        ("net.py:make_net", "net.py:other"),
        # What a user calls a function, a file or a folder says nothing.
        ("net.py:resnet18", "timm:resnet18"),
        ("resnet.pt2", "timm:resnet18"),
        ("transformers:/models/resnet", "timm:resnet18"),
        ("timm:unheard_of_a", "timm:unheard_of_b"),
    ],
)
def test_different_families_or_unknown_ones(one: str, other: str) -> None:
    assert architecture_family(one) != architecture_family(other)


def frame(model: str, *judges: str) -> pd.DataFrame:
    columns = ["class_index", "top1", *(f"judge_top1.{judge}" for judge in judges)]
    return pd.DataFrame({"model": [model]} | {name: [0] for name in columns})


def test_judges_of_the_same_family_are_named_once() -> None:
    [note] = family_notes(
        frame("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "timm:resnet50")
    )
    assert note.startswith("efficientnet_lite1, efficientnet_lite2: of the architecture family of the model")
    assert "images, EfficientNet." in note


@pytest.mark.parametrize(
    ("model", "judges", "families"),
    [
        ("efficientnet_lite0", ["timm:resnet50"], 0),
        ("efficientnet_lite0", [], 0),
        ("efficientnet_lite0", ["efficientnet_lite0"], 0),  # it is no judge
        ("net.py:make_net", ["other.py:make_net"], 0),
        ("efficientnet_lite0+timm:resnet50", ["torchvision:resnet18", "efficientnet_lite2"], 2),
        ("timm:vit_base_patch16_224", ["timm:resnet50+torchvision:vit_b_16"], 1),
    ],
)
def test_each_shared_family_has_a_note(model: str, judges: list[str], families: int) -> None:
    assert len(family_notes(frame(model, *judges))) == families


def test_the_report_and_the_command_say_it(
    make_run: MakeRun, section_page: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(judges=("lite0:weights=other", "timm:resnet50"))
    [note] = family_notes(load.results(run))
    assert note.startswith("lite0:weights=other: of the architecture family")
    main([str(run)])
    assert note in capsys.readouterr().out
    assert note in " ".join(section_page(run).text.split())
    other = make_run("other", judges=("timm:resnet50",))
    main([str(other)])
    assert "architecture family" not in capsys.readouterr().out
