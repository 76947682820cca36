"""The real offline model, read once."""

import pytest

from attrib_core.classifiers import Classifier, load_classifier


@pytest.fixture(scope="session")
def lite0() -> Classifier:
    return load_classifier("efficientnet_lite0")
