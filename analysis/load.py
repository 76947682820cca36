"""Committed results and images of a run directory, on a local disk or in an object store."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import DICTIONARY_COLUMNS, SCHEMA_VERSION

JUDGE_STRUCTS = ("judge_top1", "judge_top5_hit")

# Reads wait for the disk or the network, not for the processor.
_NUM_READERS = 16
