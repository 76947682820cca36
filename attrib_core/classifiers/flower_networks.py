"""Networks for the flowers of Kaggle (an ImageFolder of five classes) at 256×256, in colour and grey."""

from torch import nn

from attrib_core.classifiers.deep_cnn import Stage, deep_cnn
from attrib_core.classifiers.identity import Preprocessing
from attrib_core.classifiers.registry import Architecture, register
from attrib_core.classifiers.trained_here import TrainedHere

CLASS_NAMES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
IMAGE_SIZE = 256
STAGES = (
    Stage(16, pool=True),
    Stage(16, pool=True),
    Stage(16, pool=True),
    Stage(32, pool=True),
    Stage(32, pool=True),
    Stage(32, pool=True),
    Stage(64, pool=True),
    Stage(64, pool=True),
    Stage(64),
)


class FlowerDeep(TrainedHere):
    """A deep CNN like `fashion_deep`, with a pooling in every stage except the last."""

    class_names = CLASS_NAMES

    def __init__(self, name: str, channels: int) -> None:
        super().__init__(name)
        self.channels = channels

    def build(self, num_classes: int) -> nn.Module:
        return deep_cnn(STAGES, image_size=IMAGE_SIZE, channels=self.channels, num_classes=num_classes)

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        half = (0.5,) * self.channels
        return Preprocessing(mean=half, std=half, image_size=IMAGE_SIZE)


@register("flower_deep")
def flower_deep() -> Architecture:
    return FlowerDeep("flower_deep", channels=3)


@register("flower_deep_grey")
def flower_deep_grey() -> Architecture:
    return FlowerDeep("flower_deep_grey", channels=1)
