"""How references are written, and what their settings mean."""

from typing import Any, Literal

import pytest

from attrib_core.references import Reference, parse_reference, reference_text, typed_settings, unknown


@pytest.mark.parametrize(
    ("text", "parts", "settings"),
    [
        ("pgd", ("pgd",), ()),
        ("pgd:num_steps=40", ("pgd",), (("num_steps", "40"),)),
        ("timm:resnet50.a1_in1k", ("timm", "resnet50.a1_in1k"), ()),
        ("hf-hub:org/name", ("hf-hub", "org/name"), ()),
        ("foolbox:L2DeepFoolAttack:steps=50", ("foolbox", "L2DeepFoolAttack"), (("steps", "50"),)),
        ("../a/my_net.py:make:depth=20", ("../a/my_net.py", "make"), (("depth", "20"),)),
        ("my_package.attacks:square", ("my_package.attacks", "square"), ()),
        ("pgd:step_size=1/255:num_steps=7", ("pgd",), (("num_steps", "7"), ("step_size", "1/255"))),
        ("f.py:g:path=/a/b=c", ("f.py", "g"), (("path", "/a/b=c"),)),
        ("a:uri=sqlite:///x.db:b=1", ("a",), (("b", "1"), ("uri", "sqlite:///x.db"))),
        ("a:uri=http://host:5000/x:b=1", ("a",), (("b", "1"), ("uri", "http://host:5000/x"))),
    ],
)
def test_a_reference_has_parts_and_settings_in_the_order_of_their_keys(text, parts, settings) -> None:
    reference = parse_reference("methods", text)
    assert reference == Reference(parts, settings)
    assert parse_reference("methods", str(reference)) == reference


def test_the_order_of_settings_does_not_matter() -> None:
    first, second = (parse_reference("m", text) for text in ("pgd:a=1:b=2", "pgd:b=2:a=1"))
    assert str(first) == str(second) == "pgd:a=1:b=2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty part"),
        (":", "empty part"),
        ("pgd:", "empty part"),
        ("a::b", "empty part"),
        ("=3", "empty part"),
        ("pgd:num steps=3", "' ' cannot be in it"),
        ("pgd:'x'=3", '"\'" cannot be in it'),
        ("pgd,fgsm", "',' cannot be in it"),
        ("pgd(3)", "'(' cannot be in it"),
        ("pgd;ls", "';' cannot be in it"),
        ("pgd:x=$HOME", "'$' cannot be in it"),
        ("pgd:x=3:y", "a part follows a setting"),
        ("pgd:x=3:x=4", "x is given twice"),
        ("pgd:x=", "'x=' is no setting"),
        ("pgd:3x=4", "'3x=4' is no setting"),
    ],
)
def test_text_that_is_no_reference_is_refused_with_the_reason(text, reason) -> None:
    with pytest.raises(ValueError, match="methods=") as refused:
        parse_reference("methods", text)
    assert reason in str(refused.value)


def test_a_mapping_of_yaml_is_the_same_reference() -> None:
    assert reference_text({"use": "pgd", "num_steps": 40, "clip": True}) == "pgd:num_steps=40:clip=true"
    with pytest.raises(ValueError, match="accepted is a mapping such as"):
        reference_text({"num_steps": 40})


def attack(
    model: Any,
    *,
    epsilon: float,
    num_steps: int = 3,
    step_size: float | None = None,
    mode: Literal["a", "b"] = "a",
    untyped=5,
    share=0.5,
    flag=False,
    layer: Any = None,
) -> None:
    """Stand for a user's function."""


def with_any(model: Any, **settings: Any) -> None:
    """Stand for a function that takes whatever it is given."""


def needing(model: Any, depth: int) -> None:
    """Stand for a function with a parameter that has no default."""


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_steps=40", 40),
        ("step_size=2/255", 2 / 255),
        ("step_size=1e-3", 0.001),
        ("step_size=none", None),
        ("mode=b", "b"),
        ("untyped=7", 7),
        ("untyped=0.5", 0.5),
        ("share=1", 1.0),
        ("flag=true", True),
        ("layer=features.3", "features.3"),
    ],
)
def test_a_setting_has_the_type_of_its_parameter(setting, value) -> None:
    found = typed_settings("m", parse_reference("m", f"a:{setting}"), attack, given=("model", "epsilon"))
    assert found == {setting.partition("=")[0]: value}
    assert type(next(iter(found.values()))) is type(value)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("num_step=40", "no setting 'num_step'; near matches are num_steps"),
        ("epsilon=1", "no setting 'epsilon'"),
        ("model=1", "no setting 'model'"),
        ("num_steps=many", "num_steps=many: Input should be a valid integer"),
        ("num_steps=2.5", "num_steps=2.5: Input should be a valid integer"),
        ("mode=c", "mode=c: Input should be 'a' or 'b'"),
        ("step_size=fast", "step_size=fast: Input should be a valid number"),
        ("num_steps=true", "num_steps=true: Input should be a valid integer"),
        ("step_size=true", "step_size=true: Input should be a valid number"),
        ("flag=3", "flag=3"),
        ("untyped=x", "untyped=x"),
    ],
)
def test_a_setting_that_the_target_cannot_take_is_refused(setting, reason) -> None:
    reference = parse_reference("methods", f"mine.py:attack:{setting}")
    with pytest.raises(ValueError, match=f"methods='{reference}'") as refused:
        typed_settings("methods", reference, attack, given=("model", "epsilon"))
    assert reason in str(refused.value)


def test_a_target_with_keywords_of_any_name_takes_any_but_those_that_are_filled() -> None:
    reference = parse_reference("m", "a:steps=3:name=x")
    assert typed_settings("m", reference, with_any, given=("model",)) == {"steps": 3, "name": "x"}
    with pytest.raises(ValueError, match="no setting 'model'"):
        typed_settings("m", parse_reference("m", "a:model=3"), with_any, given=("model",))


def test_a_setting_that_is_needed_is_named() -> None:
    with pytest.raises(ValueError, match=r"it needs depth; accepted is a:depth=VALUE"):
        typed_settings("m", parse_reference("m", "a"), needing, given=("model",))


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("fgms", ("fgsm", "pgd"), "no method 'fgms'; near matches are fgsm"),
        ("zzz", ("fgsm", "pgd"), "no method 'zzz'; accepted are fgsm, pgd"),
        ("zzz", (), "no method 'zzz'; it has none"),
    ],
)
def test_a_name_that_is_not_known_gets_near_matches_or_all_names(name, known, words) -> None:
    assert unknown("method", name, known) == words
