"""Image classifiers of Hugging Face transformers, from a folder or the hub: `transformers:microsoft/resnet-50`.

The network is built from `config.json`, which goes with the weights to other machines. Weights are read from
safetensors alone, and code in a model's folder is never run.
"""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

try:
    import transformers
except ImportError as missing:
    raise ValueError(
        "model: transformers is not installed; accepted after pip install 'attrib-sweeps[transformers]'"
    ) from missing

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.image_processors import preprocessing_of
from attrib_core.classifiers.model_files import read_files, source_of
from attrib_core.classifiers.registry import Architecture, Files, StateDict, canonical_name, local_folder
from attrib_core.classifiers.wrapping import Description
from attrib_core.errors import in_one_line
from attrib_core.references import Reference
from attrib_core.seeding import global_randomness
from attrib_core.user_code.snapshots import digest_of

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
PUBLISHED = "published"  # the weights in the folder or on the hub
NUM_NAMED = 3  # tensors that a message names
_AUTO: Any = transformers.AutoModelForImageClassification


class TransformersModel(Architecture):
    """An image classifier of transformers: its configuration, and what its image processor does."""

    weights_names, default_weights = (PUBLISHED,), PUBLISHED

    def __init__(self, reference: Reference, files: Files) -> None:
        self._source = source_of(reference)
        self._where = f"model={str(reference)!r}"
        self.name = canonical_name(str(reference))
        self.files = files or read_files(self._where, self._source, CONFIG, [PROCESSOR])
        with self._explained("is no configuration of an image classifier"), _folder(self.files) as folder:
            self._config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self._check_kind()
        self.num_classes = self._config.num_labels
        self.definition = (
            f"transformers {transformers.__version__}, files SHA-256 {digest_of(self.files)[:16]}"
        )
        self._description = Description()

    def described(self, description: Description) -> Architecture:
        changed = copy.copy(self)
        changed._description = description
        return changed

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        config = copy.deepcopy(self._config)
        if num_classes != config.num_labels:
            config.num_labels = num_classes
        with _quiet():
            network: nn.Module = _AUTO.from_config(config, dtype=torch.float32, trust_remote_code=False)
        return network

    def fetch(self, weights_name: str) -> StateDict:
        """Return the weights, in float32. Raises ValueError if the file lacks some, such as those of the head."""
        folder = local_folder(self._source)
        with self._explained("its weights cannot be read"), global_randomness():
            network, report = _AUTO.from_pretrained(
                self._source if folder is None else folder,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        missing = sorted({*report["missing_keys"], *(each[0] for each in report["mismatched_keys"])})
        if missing:
            rest = f" and {len(missing) - NUM_NAMED} more" if len(missing) > NUM_NAMED else ""
            raise ValueError(
                f"{self._where}: its file lacks the weights {', '.join(missing[:NUM_NAMED])}{rest}; accepted is "
                "an image classifier with its head"
            )
        state: StateDict = network.state_dict()
        return state

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        """Return what the model's image processor does; without one, what the user says."""
        said = self._description
        if PROCESSOR in self.files:
            with self._explained("its image processor cannot be used"), _folder(self.files) as folder:
                return preprocessing_of(folder, self._channels)
        size = said.image_size or getattr(self._config, "image_size", None)
        if said.mean is None or said.std is None or not isinstance(size, int):
            raise ValueError(
                f"{self._where}: no {PROCESSOR} in it; accepted with --mean, --std and --image-size "
                "(Description(mean=..., std=..., image_size=...) in Python)"
            )
        return Preprocessing(mean=tuple(said.mean), std=tuple(said.std), image_size=size)

    def for_images(self, preprocessing: Preprocessing) -> Architecture:
        if (channels := len(preprocessing.mean)) != self._channels:
            raise ValueError(f"channels={channels}: {self.name} takes {self._channels}")
        return self

    def labels(self, num_classes: int) -> Labels:
        """Return the names in the configuration; ImageNet's own, with WordNet ids, where they are its names."""
        named = self._config.id2label or {}
        names = tuple(str(named.get(index, "")) for index in range(num_classes))
        if len(named) != num_classes or names == tuple(f"LABEL_{index}" for index in range(num_classes)):
            return Labels.numbered(num_classes)
        return imagenet.labels(num_classes) if imagenet.has_names(names) else Labels(class_names=names)

    def adapt(self, state: StateDict) -> StateDict:
        """Return the tensors under the names that the library gives them in memory; files often have older ones.

        A head of another number of classes is kept. What the library misses or does not know is left as it is.
        """
        config = copy.deepcopy(self._config)
        network, report = self._converted(config, state)
        if report["mismatched_keys"]:  # each with the shape in the file, then the network's
            config.num_labels = min(shape[0] for _, shape, _ in report["mismatched_keys"])
            network, report = self._converted(config, state)
        if report["missing_keys"] or report["mismatched_keys"]:
            return state
        rest = {name: state[name] for name in report["unexpected_keys"] if name in state}
        return network.state_dict() | rest

    def _converted(self, config: Any, state: StateDict) -> tuple[nn.Module, dict[str, Any]]:
        with _quiet(), global_randomness():
            kind: Any = type(_AUTO.from_config(config, trust_remote_code=False))
            network, report = kind.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        return network, report

    @property
    def _channels(self) -> int:
        return int(getattr(self._config, "num_channels", 3))

    def _check_kind(self) -> None:
        if self._config.model_type == "timm_wrapper":
            raise ValueError(f"{self._where}: a model in timm's format; accepted as hf-hub:{self._source}")
        if type(self._config) not in _AUTO._model_mapping:
            raise ValueError(
                f"{self._where}: a {self._config.model_type} is no image classifier of transformers; accepted are "
                "models that AutoModelForImageClassification takes"
            )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn the library's errors into one line; it raises many kinds for files that it cannot use."""
        try:
            with _quiet():
                yield
        except Exception as error:
            raise ValueError(f"{self._where}: {what} ({in_one_line(error)})") from error


@contextmanager
def _folder(files: Files) -> Iterator[Path]:
    """Write files into a folder for a moment: the library reads configurations from nowhere else."""
    with tempfile.TemporaryDirectory(prefix="attrib-sweeps-model-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        yield Path(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's log lines and progress bars away from the command's own."""
    logging: Any = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


class _Transformers:
    def architecture(self, reference: Reference, files: Files) -> Architecture:
        return TransformersModel(reference, files)


FORMAT = _Transformers()
