"""The end of a recipe search: which configurations were best, and the best one as a file."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attrib_core.generation import PyramidSettings
from attrib_core.generation.recipe_files import write_settings
from sweeps.store import RunDirectory
from sweeps.store.maintenance import map_in_threads
from sweeps.tune.space import changes
from sweeps.tune.trial import Score, Search, read_score

BEST_RECIPE = "best_recipe.yaml"
NUM_LISTED = 5


@dataclass(frozen=True)
class Ranked:
    """A configuration and its score over all of its committed chunks."""

    name: str
    settings: PyramidSettings
    score: Score


def rank(run: RunDirectory, search: Search) -> list[Ranked]:
    """Return the configurations by how many classes they have seen, then by accuracy.

    What saw fewer classes was stopped for being behind; its accuracy rests on less. The earlier sample,
    and the base before all, wins a tie.
    """
    chunks = [(name, shard.id) for name, shards in search.shards.items() for shard in shards]
    totals = dict.fromkeys(search.shards, Score())
    scores = map_in_threads(lambda chunk: read_score(run, chunk[1], search.objective), chunks)
    for (name, _), score in zip(chunks, scores, strict=True):
        totals[name] += score or Score()
    ranked = [
        Ranked(name, search.configurations[name], total) for name, total in totals.items() if total.count
    ]
    return sorted(ranked, key=lambda each: (-each.score.count, -each.score.accuracy))


def write_best(run: RunDirectory, best: Ranked, search: Search) -> str:
    """Write the settings of the best configuration into the run directory and return the file's URL."""
    score = best.score
    comment = f"{best.name}: {score.correct} of {score.count} images correct by {search.objective}"
    run.files.put(BEST_RECIPE, write_settings(best.settings, comment).encode())
    return f"{run.url}/{BEST_RECIPE}"


def table(ranked: Sequence[Ranked], search: Search) -> str:
    """Return the best few as lines: name, correct of seen, accuracy, and how they differ from the base."""
    base_name, base = next(iter(search.configurations.items()))
    listed = list(ranked[:NUM_LISTED])
    listed += [each for each in ranked[NUM_LISTED:] if each.name == base_name]
    lines = [f"The best of {len(ranked)} configurations, by {search.objective}:"]
    for each in listed:
        score = each.score
        difference = "the base" if each.name == base_name else changes(each.settings, base)
        lines.append(f"  {each.name}  {score.correct:>3}/{score.count}  {score.accuracy:6.1%}  {difference}")
    return "\n".join(lines)


def usage(file: str, options: Mapping[str, object]) -> str:
    """Return the command that generates with the file, under those of the search's options that are given."""
    given = {"recipes": file} | {name: value for name, value in options.items() if value is not None}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return f"python sweeps/generate_all.py {shlex.join(words)}"
