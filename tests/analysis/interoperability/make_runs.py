"""Makes a small run of every sweep below a folder, in one Ray cluster: what other programs shall open.

python make_runs.py FOLDER
"""

import struct
import sys
from pathlib import Path

import numpy as np

from attrib_core.datasets import View, load_dataset
from cluster.session import connect
from sweeps import attack_all, attribute_all, attribute_training, generate_all, modify_all

COMMON = ["--num-workers", "1", "--threads-per-worker", "1"]
SWEEPS = {
    "attack": (
        attack_all.main,
        "--images 0-11 --methods fgsm,minimum_fgsm --epsilons 0,0.01,8/255 --checkpoints untrained,trained "
        "--save-images 0-2 --save-perturbations 0-2",
    ),
    "generate": (
        generate_all.main,
        "--classes 963,980 --seeds 0-1 --recipes plain,blur --num-steps 4 --image-size 64 --batch-size 4 "
        "--judges efficientnet_lite1 --frames 963 --frame-every 2",
    ),
    "attribute": (
        attribute_all.main,
        "--images 0-7 --methods gradient_x_input,integrated_gradients,occlusion --save-images 0-3",
    ),
    "modify": (modify_all.main, "--images 0-3 --targets 0,3,9 --num-steps 8 --save-images 0-1"),
    "attribute_training": (
        attribute_training.main,
        "--panel 0-2 --segment 2 --data-root {data} --methods gradient_x_input,training_integrated_gradient",
    ),
}


def write_data(folder: Path, num_train: int = 64, num_test: int = 8) -> Path:
    """The first images of Fashion-MNIST, in files as it has them: an epoch of four minibatches."""
    folder.mkdir()
    for split, prefix, count in (("train", "train", num_train), ("test", "t10k", num_test)):
        dataset = load_dataset("fashion_mnist", split=split)
        pixels = dataset.images(range(count), View(image_size=28, channels=1))[:, 0]
        for kind, values in (
            ("images-idx3", pixels),
            ("labels-idx1", dataset.labels[:count].astype(np.uint8)),
        ):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return folder


def main() -> int:
    folder = Path(sys.argv[1])
    data = write_data(folder / "data")
    with connect("local", num_cpus=2):
        for name, (sweep, options) in SWEEPS.items():
            words = [word.format(data=data) for word in options.split()]
            status = sweep([*words, *COMMON, "--output", str(folder / "runs" / name)])
            if status:
                return int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
