"""AlexNet (Krizhevsky, Sutskever and Hinton 2012) for small grey images, with batch norm instead of LRN."""

from torch import nn


def small_alexnet(num_classes: int) -> nn.Sequential:
    """Return a network from normalised images `[B, 1, 28, 28]` to logits `[B, num_classes]`."""
    features = nn.Sequential(
        nn.Conv2d(1, 96, kernel_size=11, stride=4),  # output is 5×5
        # ReLU after the pooling gives the same result as before it, on a sixth of the values.
        nn.MaxPool2d(kernel_size=3, stride=2),  # output is 2×2
        nn.ReLU(),
        nn.BatchNorm2d(96),
        nn.Conv2d(96, 256, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.BatchNorm2d(256),
        nn.Conv2d(256, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
    )
    head = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(1024, 2048),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(2048, 2048),
        nn.ReLU(),
        nn.Linear(2048, num_classes),
    )
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("head", head)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Glorot and Bengio 2010, Keras' default. Torch's own initial weights are so small that the loss stays
            # on its first plateau for hundreds of updates, and by then the original's learning rate has decayed.
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # each has one
    return network
