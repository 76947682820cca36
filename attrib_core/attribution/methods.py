"""The attribution methods by name. Another method is another entry of `METHODS`."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from attrib_core.attribution.adapters.user_functions import user_method
from attrib_core.attribution.grad_cam import (
    check_grad_cam,
    check_guided_grad_cam,
    grad_cam,
    guided_grad_cam,
)
from attrib_core.attribution.gradients import (
    abs_gradient_x_input,
    gradient,
    gradient_x_input,
    loss_gradient,
    loss_gradient_x_input,
)
from attrib_core.attribution.integrated import integrated_gradients
from attrib_core.attribution.method import Method
from attrib_core.attribution.occlusion import occlusion, occlusion_gradient_x_input
from attrib_core.attribution.scores import Scored, check_boxes_given, padded_boxes, scores_named
from attrib_core.attribution.settings import AUTO, TARGETS, AttributionSettings, Target
from attrib_core.attribution.smooth import SAMPLES, SMOOTH, describe_samples, smooth_grad, smooth_method
from attrib_core.attribution.subject import Subject, clean_pass, explained_classes
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes
from attrib_core.host_copies import host_copies
from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel, prepared, probability_of
from attrib_core.references import Reference, parse_reference, typed_fields, unknown
from attrib_core.user_code import is_code, kept_with_code
from attrib_core.user_code.targets import canonical, is_installed


def _describe_occlusion(settings: AttributionSettings) -> str:
    size = "a seventh of the side" if settings.window_size is None else f"{settings.window_size}"
    stride = "half the window" if settings.stride is None else f"{settings.stride}"
    return f"window {size}, stride {stride}"


def _describe_integrated(settings: AttributionSettings) -> str:
    if settings.num_steps == AUTO:
        return f"steps until a gap of {settings.tolerance:g} from {settings.baseline}"
    return f"{settings.num_steps} steps from {settings.baseline}"


def _describe_cam(settings: AttributionSettings) -> str:
    layer = "the last layer that knows places" if settings.layer is None else f"layer {settings.layer}"
    return f"{layer}, {settings.upsample}{', positive part' if settings.relu else ''}"


WINDOW, PATH = ("window_size", "stride"), ("num_steps", "tolerance", "baseline")

METHODS: dict[str, Method] = {
    "gradient": Method(gradient, "target", of_inputs=False),
    "abs_gradient_x_input": Method(abs_gradient_x_input, "target", is_signed=False),
    "gradient_x_input": Method(gradient_x_input, "target"),
    "loss_gradient": Method(loss_gradient, "loss", of_inputs=False),
    "loss_gradient_x_input": Method(loss_gradient_x_input, "loss"),
    "occlusion": Method(lambda subject: subject.once(occlusion), None, _describe_occlusion, settings=WINDOW),
    "occlusion_gradient_x_input": Method(
        occlusion_gradient_x_input, "target", _describe_occlusion, settings=WINDOW
    ),
    "integrated_gradients": Method(
        lambda subject: subject.once(integrated_gradients).values,
        None,
        _describe_integrated,
        settings=PATH,
        completeness_gap=lambda subject: subject.once(integrated_gradients).completeness_gap,
        num_path_steps=lambda subject: subject.once(integrated_gradients).num_steps,
    ),
    "smooth_grad": Method(smooth_grad, None, describe_samples, settings=SAMPLES, of_inputs=False),
    "grad_cam": Method(
        grad_cam,
        None,
        _describe_cam,
        of_inputs=False,
        settings=("layer", "relu", "upsample"),
        check=check_grad_cam,
    ),
    "guided_grad_cam": Method(
        guided_grad_cam,
        None,
        _describe_cam,
        of_inputs=False,
        settings=("layer", "upsample"),
        check=check_guided_grad_cam,
    ),
}
# Modules with a function `find_method(field, reference)` for all `name:PART`, imported when one is asked for.
FAMILIES = {"captum": "attrib_core.attribution.adapters.captum"}
ACCEPTED = f"{', '.join(METHODS)}, {SMOOTH}:METHOD, captum:NAME and FILE.py:FUNCTION"


@kept_with_code
def method_named(text: str) -> Method:
    """Return the method that a reference names, such as `occlusion:window_size=8` or `captum:DeepLift`.

    Settings of the reference win over those of a subject. Raises ValueError that names the reference and what is
    wrong.
    """
    return _find_method("methods", parse_reference("methods", text))


def _find_method(field: str, reference: Reference) -> Method:
    if reference.target in METHODS:
        return _with_settings(field, reference, METHODS[reference.target])
    if reference.name == SMOOTH:
        return smooth_method(field, reference, _find_method)
    if reference.name in FAMILIES:
        if not is_installed(reference.name):
            raise ValueError(
                f"{field}={str(reference)!r}: {reference.name} is not installed; accepted after "
                f"pip install 'attrib-sweeps[{reference.name}]'"
            )
        found: Method = importlib.import_module(FAMILIES[reference.name]).find_method(field, reference)
        return found
    if is_code(reference):
        return user_method(field, reference)
    near = unknown("method", reference.name, METHODS)
    raise ValueError(f"{field}: {str(reference)!r}; accepted are {ACCEPTED}: {near}")


def _with_settings(field: str, reference: Reference, method: Method) -> Method:
    """Return a method of ours with the settings of a reference."""
    if not reference.settings:
        return method
    return method.with_changes(typed_fields(field, reference, AttributionSettings, method.settings))


@dataclass(frozen=True, kw_only=True)
class Attributions:
    """Attributions of a batch: those of `attribute` on the CPU, those of `attributions` on the model's device."""

    prediction: Tensor  # [B] int64, the class of the largest logit
    confidence: Tensor  # [B], its softmax probability
    explained: Tensor  # [B] int64, the class whose logit or loss is explained
    values: dict[str, Tensor]  # [B, C, H, W] by method
    completeness_gaps: dict[str, Tensor]  # [B] by method, of those that promise a sum
    num_path_steps: dict[str, Tensor]  # [B] int64 by method, of those that follow a path
    is_constant: Tensor  # [B, M], whether all pixels of a map are equal
    scores: dict[str, Tensor]  # [B, M] by column, methods in the order of `values`; NaN where not defined
    batch_size: int  # of the model, after any halving

    @property
    def completeness_gap(self) -> Tensor | None:
        """The gap `[B]` of integrated gradients, the first if there are several; None if there are none."""
        return next(iter(self.completeness_gaps.values()), None)

    def on_host(self, others: Sequence[Tensor] = ()) -> tuple["Attributions", list[Tensor]]:
        """Return the attributions, and other tensors, on the CPU, in one copy."""
        tensors = [
            self.prediction,
            self.confidence,
            self.explained,
            self.is_constant,
            *self.values.values(),
            *self.completeness_gaps.values(),
            *self.num_path_steps.values(),
            *self.scores.values(),
        ]
        prediction, confidence, explained, is_constant, *rest = host_copies([*tensors, *others])
        found = iter(rest)
        on_cpu = replace(
            self,
            prediction=prediction,
            confidence=confidence,
            explained=explained,
            is_constant=is_constant,
            values={name: next(found) for name in self.values},
            completeness_gaps={name: next(found) for name in self.completeness_gaps},
            num_path_steps={name: next(found) for name in self.num_path_steps},
            scores={column: next(found) for column in self.scores},
        )
        return on_cpu, list(found)


@gradients_enabled()
def attribute(
    model: Classifier | PreparedModel,
    images: Tensor,
    labels: Tensor,
    methods: Sequence[str],
    *,
    target: Target = "predicted",
    scores: Sequence[str] = (),
    settings: AttributionSettings | None = None,
    keys: Sequence[int] = (),
    boxes: Sequence[Tensor] | None = None,
) -> Attributions:
    """Attribute a classifier's answers for images `[B, C, H, W]` in [0, 1].

    Methods are references: `occlusion:window_size=8`, `captum:DeepLift`, `FILE.py:FUNCTION`. Explained is, for
    `target` "predicted", the logit of the clean image's predicted class; for "label" that of the label; for "loss"
    the label's cross-entropy. `scores` are references of `SCORES`, such as `road`: their numbers follow, by image
    and method. `boxes` `[n, 4]` of each image, for `pointing_game`, are left, top, right and bottom in pixels. An
    image's random numbers belong to its key, by default its position. Weights and
    the global random state are left alone. Raises ValueError for images, labels, methods or outputs that cannot
    be.
    """
    _check_request(methods, target)
    named = scores_named(scores)
    check_boxes_given(named, has_boxes=boxes is not None)
    keys = tuple(keys) or tuple(range(len(images)))
    model = prepared(model, images)
    _check_batch(model.classifier, images, labels, keys)
    for score in named.values():
        score.check_images(*images.shape[-2:])
    request = Request(
        target=target,
        scores=tuple(scores),
        settings=settings,
        keys=keys,
        boxes=None if boxes is None else padded_boxes(boxes, images.shape),
    )
    found = attributions(model, images, labels, methods, request)
    on_host, _ = found.on_host()
    return on_host


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `attributions` is asked about a batch of images, besides the methods.

    `explained` are the classes `[B]` that target "predicted" explains, and whose probability scores follow; None
    are those that the model itself predicts. `given` are methods whose values are there already, each by a name
    that stands among the methods too.
    """

    target: Target
    keys: tuple[int, ...]  # [B]
    scores: tuple[str, ...] = ()
    settings: AttributionSettings | None = None
    explained: Tensor | None = None
    given: Mapping[str, Method] = field(default_factory=dict)
    boxes: Tensor | None = None  # [B, n, 4], left, top, right, bottom in pixels; rows of NaN are none


def attributions(
    model: PreparedModel, images: Tensor, labels: Tensor, methods: Sequence[str], request: Request
) -> Attributions:
    """Do what `attribute` does without a look at images and labels, and leave what is found on the device.

    On a GPU the host waits for the logits, which are checked, and for which windows occlusion has to cover.
    """
    images, labels = model.images(images.detach().float()), model.execution.to_device(labels).long()
    by_name = {name: request.given.get(name) or method_named(name) for name in methods}
    wanted = {method.gradient_of for method in by_name.values()}
    logits, gradients = clean_pass(model, images, labels, request.target, wanted, explained=request.explained)
    subject = Subject(
        model=model,
        settings=request.settings or AttributionSettings(),
        target=request.target,
        images=images,
        keys=request.keys,
        classes=explained_classes(request.target, logits, labels, request.explained),
        labels=labels,
        logits=logits,
        gradients=gradients,
    )
    return _attributions(subject, by_name, request)


def _attributions(subject: Subject, methods: Mapping[str, Method], request: Request) -> Attributions:
    prediction = subject.logits.argmax(1)
    values = {name: method.values(subject).detach().float().contiguous() for name, method in methods.items()}
    scored = Scored(
        subject=subject,
        methods=methods,
        values=values,
        classes=prediction if request.explained is None else request.explained,
        boxes=None if request.boxes is None else subject.model.execution.to_device(request.boxes),
    )
    columns = [score(scored) for score in scores_named(request.scores).values()]
    return Attributions(
        prediction=prediction,
        confidence=probability_of(subject.logits, prediction),
        explained=subject.classes,
        is_constant=scored.is_constant,
        values=values,
        completeness_gaps={
            name: method.completeness_gap(subject)
            for name, method in methods.items()
            if method.completeness_gap is not None
        },
        num_path_steps={
            name: method.num_path_steps(subject)
            for name, method in methods.items()
            if method.num_path_steps is not None
        },
        scores={name: numbers for each in columns for name, numbers in each.items()},
        batch_size=subject.model.batch_size,
    )


def _check_batch(classifier: Classifier, images: Tensor, labels: Tensor, keys: Sequence[int]) -> None:
    check_classes("labels", labels, len(images), classifier.num_classes)
    if len(keys) != len(images):
        raise ValueError(f"keys: {len(keys)} of them for {len(images)} images")


def _check_request(methods: Sequence[str], target: str) -> None:
    if isinstance(methods, str):
        raise ValueError(f"methods: {methods!r} is text; accepted is a list of {ACCEPTED}")
    if not methods:
        raise ValueError(f"methods: there are none; accepted are {ACCEPTED}")
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: accepted are {', '.join(TARGETS)}")
    seen: set[Reference] = set()
    for name in methods:
        check_target(name, target)
        reference = canonical(parse_reference("methods", name))
        if reference in seen:
            raise ValueError(f"methods: {name!r} is listed twice; list each method once")
        seen.add(reference)


def check_target(name: str, target: str) -> None:
    """Raise ValueError for a method that cannot explain a target."""
    accepted = method_named(name).targets
    if target not in accepted:
        raise ValueError(
            f"methods={name!r}: it does not explain target={target}; accepted are {', '.join(accepted)}"
        )
