"""What the original measured on, and the commands that measure it here: those of `make reproduce`."""

from analysis.claims.claim import Setting

FLOWERS = Setting(
    description="a small convolutional network on flowers, 40 epochs",
    models=("flower_deep",),
    datasets=("flowers",),
)
FASHION = Setting(
    description="a small convolutional network on Fashion-MNIST",
    models=("fashion_deep",),
    datasets=("fashion_mnist",),
)
FASHION_ALEXNET = Setting(
    description="an AlexNet on Fashion-MNIST",
    models=("fashion_alexnet",),
    datasets=("fashion_mnist",),
)
IMAGENET = Setting(description="Inception v3", models=("inception_v3",))

FOLDER = "runs/reproduce"

_ALL_ATTACKS = "fgsm,max_norm,max_norm_signed,random_sign,gradient_alone,minimum_fgsm,minimum_max_norm"
_FEW_IMAGES = "--save-perturbations 0-15"
# 32 classes at equal distances: nobody's favourites.
_CLASSES = ",".join(str(index) for index in range(0, 1000, 32))
_SPREAD = ",".join(str(index) for index in range(0, 1000, 25))


def _sweep(command: str, run: str, options: str) -> str:
    # The command is whole in each call: in the wheel it is another.
    return f"{command} --output {FOLDER}/{run} {options}"


ATTACK = _sweep(
    "python sweeps/attack_all.py",
    "attack",
    f"--checkpoints untrained,trained --methods {_ALL_ATTACKS} {_FEW_IMAGES}",
)
ALEXNET = (
    "python sweeps/train_classifier.py --model fashion_alexnet --recipe original "
    f"--output {FOLDER}/alexnet.safetensors && "
    + _sweep(
        "python sweeps/attack_all.py",
        "attack-alexnet",
        f"--model fashion_alexnet --weights {FOLDER}/alexnet.safetensors --epsilons 0 {_FEW_IMAGES}",
    )
)
ALEXNET_TRAINING = _sweep(
    "python sweeps/attribute_training.py",
    "training-alexnet",
    "--model fashion_alexnet --split test --batch-size 1000 --every 10 --segment 10 --panel 0",
)
TRAINING = _sweep(
    "python sweeps/attribute_training.py",
    "training",
    "--epochs 2 --every 250 --panel 0-99 --methods gradient_x_input,loss_gradient,training_integrated_gradient",
)
ATTRIBUTE = _sweep(
    "python sweeps/attribute_all.py",
    "attribute",
    "--images 0-999 --methods gradient_x_input,occlusion,occlusion_gradient_x_input",
)
MODIFY = _sweep("python sweeps/modify_all.py", "modify", "--images 0-199 --num-steps 100 --save-images 0-15")
NOISE = _sweep(
    "python sweeps/generate_all.py",
    "noise",
    "--recipes noise_long,sign --image-size 128 --classes 0,125,250,375,500,625,750,875 --shard-size 4",
)
# The same run, grown.
SIGN = _sweep(
    "python sweeps/generate_all.py",
    "noise",
    f"--recipes sign --image-size 128 --classes {_SPREAD} --shard-size 4",
)
GENERATE = _sweep(
    "python sweeps/generate_all.py",
    "generate",
    f"--recipes plain,softmax_loss,blur,blur_resize,blur_resize_jitter --classes {_CLASSES}",
)
LION = _sweep(
    "python sweeps/generate_all.py",
    "lion",
    "--recipes blur_resize_jitter --classes 291 --seeds 0-31 --shard-size 8",
)
ANT = _sweep(
    "python sweeps/generate_all.py", "ant", "--recipes blur,blur_resize_jitter --classes 310 --seeds 0-11"
)
FLOWERS_ATTACK = (
    "python sweeps/train_classifier.py --model flower_deep --dataset flowers --data-root FLOWERS "
    f"--output {FOLDER}/flowers.safetensors && "
    + _sweep(
        "python sweeps/attack_all.py",
        "attack-flowers",
        f"--model flower_deep --weights {FOLDER}/flowers.safetensors --dataset flowers --data-root FLOWERS "
        f"--checkpoints untrained,trained --methods {_ALL_ATTACKS} {_FEW_IMAGES}",
    )
)
