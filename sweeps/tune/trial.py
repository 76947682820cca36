"""The actor's side of the recipe search: a trial generates and judges one configuration, chunk by chunk."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from ray import tune

from attrib_core.generation import PyramidSettings
from attrib_core.user_code import Code, install
from sweeps.actor_device import DeviceShare
from sweeps.columns import Columns
from sweeps.generate.job import GenerateJob, GenerateSettings, Weights
from sweeps.generate.rows import JudgedShard
from sweeps.plan import Shard
from sweeps.schemas import tune_results
from sweeps.store import RunDirectory

IMAGE_SEED = 0  # of every image: a search compares configurations on the same starting noise
ATTEMPT = 1  # Ray Tune restarts a trial without saying so


@dataclass(frozen=True)
class Score:
    """How many of the images made so far their judge takes for the class that was meant."""

    correct: int = 0
    count: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.correct + other.correct, self.count + other.count)

    @property
    def accuracy(self) -> float:
        """The share of correct images; 0 where there are none."""
        return self.correct / max(self.count, 1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What all trials share: settings by recipe, the base's first; classes by chunk; the judge that decides.

    `shards` are a recipe's chunks in order, each with the cells of its classes. `invocation` is this command's
    entry in sweep.json, by which an actor knows that it sees the run directory.
    """

    settings: GenerateSettings
    codes: tuple[Code, ...]  # the user's own
    configurations: Mapping[str, PyramidSettings]
    chunks: Sequence[Sequence[int]]
    objective: str
    shards: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)
    num_threads: int = 1
    gpus_per_worker: float = 0.0
    invocation: dict[str, Any] = field(default_factory=dict)

    def with_shards(self, planned: Iterable[Shard]) -> "Search":
        """Return the search with the plan's shards, whose cells are numbers of chunks, by recipe."""
        shards: dict[str, list[Shard]] = {name: [] for name in self.configurations}
        for shard in planned:
            [chunk] = shard.indices()
            cells = tuple((IMAGE_SEED, index) for index in self.chunks[chunk])
            recipe = shard.value("recipe", str)
            shards[recipe].append(Shard(shard.id, {"recipe": recipe, "chunk": chunk}, cells))
        return replace(self, shards={name: tuple(chunks) for name, chunks in shards.items()})


class TuneJob(GenerateJob):
    """Generation whose rows also say which settings made them."""

    def __init__(self, search: Search, weights: Weights) -> None:
        super().__init__(search.settings, weights)
        self.configurations = search.configurations

    def columns(self, judged: JudgedShard, image_file: str | None, attempt: int) -> Columns:
        added = {
            "sweep": "tune_recipe",
            "chunk": judged.shard.value("chunk", int),
            "settings": json.dumps(asdict(self.configurations[judged.axes.recipe])),
        }
        return super().columns(judged, image_file, attempt) | added

    def schema(self, judges: Sequence[str]) -> pa.Schema:
        return tune_results(judges)


class Trial(tune.Trainable):
    """One configuration after another in an actor that keeps its models; a step is a chunk of classes.

    A chunk that is committed already, by an earlier run or a lost trial, is read back.
    """

    def setup(  # type: ignore[override]  # `tune.with_parameters` adds what the base class does not know
        self, config: dict[str, Any], search: Search, weights: Weights
    ) -> None:
        """Prepare the actor, once, with what `tune.with_parameters` put into the object store."""
        share = DeviceShare(search.gpus_per_worker, search.settings.precision)
        share.take()  # before any code that could use a GPU
        install(search.codes)
        self._search = search
        self._run = RunDirectory(search.settings.output)
        self._run.check_seen(search.invocation)
        self._job: TuneJob | None = None
        self._weights, self._device = weights, share.describe()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration, in the same actor."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Make or read one chunk and return the score of all chunks so far."""
        shard = self._shards[self._num_chunks]
        score = read_score(self._run, shard.id, self._search.objective)
        is_new = score is None
        if score is None:
            torch.set_num_threads(self._search.num_threads)
            self._commit(shard)
            score = read_score(self._run, shard.id, self._search.objective)
            assert score is not None, f"{shard.id} is committed"
        self._score += score
        self._num_chunks += 1
        return {
            "accuracy": self._score.accuracy,
            "correct": self._score.correct,
            "count": self._score.count,
            "num_chunks": self._num_chunks,
            "new_images": score.count if is_new else 0,
            "device": self._device,
            "done": self._num_chunks == len(self._shards),
        }

    def _begin(self, config: dict[str, Any]) -> None:
        self._shards = self._search.shards[config["recipe"]]
        self._score, self._num_chunks = Score(), 0

    def _commit(self, shard: Shard) -> None:
        """Commit the chunk, unless another attempt was first: what counts is what is committed."""
        if self._job is None:
            self._job = TuneJob(self._search, self._weights)
        self._job.commit(self._job.compute(shard), ATTEMPT)


def read_score(run: RunDirectory, shard_id: str, judge: str) -> Score | None:
    """Read the judge's score of a committed shard; None where it is not committed."""
    content = run.files.read_if_present(f"results/{shard_id}.parquet")
    if content is None:
        return None
    rows = pq.read_table(pa.BufferReader(content), columns=["class_index", "judge_top1"]).to_pylist()
    return Score(sum(row["judge_top1"][judge] == row["class_index"] for row in rows), len(rows))
