"""Networks for Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747): grey images of 28×28."""

from torch import nn

from attrib_core.classifiers.alexnet import small_alexnet
from attrib_core.classifiers.deep_cnn import Stage, deep_cnn
from attrib_core.classifiers.identity import Preprocessing
from attrib_core.classifiers.registry import Architecture, register
from attrib_core.classifiers.trained_here import TrainedHere

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IMAGE_SIZE = 28
DEEP_STAGES = (
    Stage(16, pool=True),
    Stage(16, pool=True),
    Stage(16, pool=True),
    Stage(32, pool=True),
    Stage(32),
    Stage(32),
    Stage(64),
    Stage(64),
    Stage(64),
)


class FashionArchitecture(TrainedHere):
    """Base of the networks for Fashion-MNIST: class names and preprocessing."""

    class_names = CLASS_NAMES

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        # Mean and standard deviation of all training pixels.
        return Preprocessing(mean=(0.2860,), std=(0.3530,), image_size=IMAGE_SIZE)


class FashionDeep(FashionArchitecture):
    """A deep CNN of 179,728 parameters; the shipped weights' metadata hold the command that made them."""

    shipped_sha256 = "9bdb472ef20f17646a49b5c35d81b07f18e782c4b826948277be9211604d7646"

    def build(self, num_classes: int) -> nn.Module:
        return deep_cnn(DEEP_STAGES, image_size=IMAGE_SIZE, channels=1, num_classes=num_classes)


class FashionAlexNet(FashionArchitecture):
    """A small AlexNet of 10,041,418 parameters, including 704 batch-norm statistics."""

    def build(self, num_classes: int) -> nn.Module:
        return small_alexnet(num_classes)


@register("fashion_deep")
def fashion_deep() -> Architecture:
    return FashionDeep("fashion_deep")


@register("fashion_alexnet")
def fashion_alexnet() -> Architecture:
    return FashionAlexNet("fashion_alexnet")
