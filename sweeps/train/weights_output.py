"""Where a training's weights go: one file at the end, and checkpoints along the way."""

import json
import os
import tempfile
from pathlib import Path

import safetensors.torch
from torch import nn

SUFFIX = ".safetensors"
CHECKPOINT = "step-{step:08d}" + SUFFIX


class WeightsOutput:
    """A file, and a folder of checkpoints or none. Every file appears whole or not at all."""

    def __init__(self, path: Path, checkpoints: Path | None, every: int | None, overwrite: bool) -> None:
        """Raise ValueError for what no training could write to; nothing is touched yet."""
        if path.suffix != SUFFIX:
            raise ValueError(f"output={str(path)!r}: accepted are files that end in {SUFFIX}")
        if path.is_dir():
            raise ValueError(f"output={str(path)!r}: it is a folder")
        if path.exists() and not overwrite:
            raise ValueError(f"output={str(path)!r}: it exists; another name or --overwrite")
        if every is not None and checkpoints is None:
            raise ValueError(f"checkpoint_every={every}: needs a folder, --checkpoints DIR")
        if every is not None and every < 1:
            raise ValueError(f"checkpoint_every={every}: accepted are 1 and more")
        if checkpoints is not None and _existing(checkpoints) and not overwrite:
            raise ValueError(
                f"checkpoints={str(checkpoints)!r}: holds some already; another folder or --overwrite"
            )
        self._path, self._checkpoints, self._every = path, checkpoints, every

    def prepare(self) -> None:
        """Make the folders and clear old checkpoints away. Raises ValueError where nothing can be written."""
        _make_writable("output", self._path.parent)
        if self._checkpoints is not None:
            _make_writable("checkpoints", self._checkpoints)
            # Those of another training would pass for steps of this one.
            for path in _existing(self._checkpoints):
                path.unlink()

    def is_due(self, step: int, steps_per_epoch: int, num_steps: int) -> bool:
        """Return whether this state is to be a checkpoint; the first and the last always are."""
        is_one = step % (self._every or steps_per_epoch) == 0 or step == num_steps
        return is_one and self._checkpoints is not None

    def checkpoint(self, network: nn.Module, step: int) -> None:
        """Write the weights of a state that is due."""
        assert self._checkpoints is not None
        write_weights(self._checkpoints / CHECKPOINT.format(step=step), network, {"step": str(step)})

    def finish(self, network: nn.Module, metadata: dict[str, str]) -> None:
        """Write the trained weights."""
        write_weights(self._path, network, metadata)

    def remains(self) -> str:
        """Return in words what an unfinished training has left."""
        # Counted on the disk: an interruption may come between a file's last step and a count of our own.
        if number := len(_existing(self._checkpoints)) if self._checkpoints is not None else 0:
            count = f"{number} checkpoint{'s' * (number > 1)}"
            return f"Kept: {count} in {self._checkpoints}; {self._path} was not written"
        return f"Nothing was kept; {self._path} was not written"

    def __str__(self) -> str:
        return str(self._path)


def write_weights(path: Path, network: nn.Module, metadata: dict[str, str]) -> None:
    """Write a state dict as safetensors, under a temporary name until it is whole."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = _in_fixed_order(safetensors.torch.save(state, metadata))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)  # a temporary file is its owner's alone
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _in_fixed_order(content: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted, which the library writes in a random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def _existing(folder: Path) -> list[Path]:
    return sorted(folder.glob(CHECKPOINT.format(step=0).replace("0" * 8, "[0-9]" * 8)))


def _make_writable(field: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{field}: cannot write to {str(folder)!r}: {error.strerror}") from None
