"""Searches a pyramid recipe's parameters with Ray Tune: a judge's accuracy at a fixed cost, stopping early.

    python sweeps/tune_recipe.py --num-samples 64 --time-budget 3600 --output runs/tune_recipe
    python sweeps/generate_all.py --recipes default,runs/tune_recipe/best_recipe.yaml

Every configuration sees as many pixels as `--base` does: smaller views buy more steps. The classes come in
chunks of `--shard-size`, in one shuffled order for all; after some, ASHA stops the configurations behind.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pydantic import Field

from attrib_core.generation import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe_files import identity_of_settings, recipe_digest, settings_digest
from attrib_core.generation.recipes import DEFAULT, EARLIER_PYRAMIDS, FAST
from attrib_core.seeding import derive_seed
from attrib_core.user_code import taken
from cluster.session import Session, connect
from sweeps.cli import INTERRUPTED, output_field, run_command
from sweeps.generate.job import GenerateSettings, Weights, build_generator, read_weights, try_recipes
from sweeps.generate.recipe_sources import is_file, read_settings_file
from sweeps.model_options import ModelOptions
from sweeps.outcome import SOME_QUARANTINED, how_to_resume
from sweeps.progress import Progress
from sweeps.ranges import format_integers, parse_integers, parse_names
from sweeps.record import merge, plan_of
from sweeps.runner import notices_of, pool_options, print_plan, record
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size, recorded
from sweeps.tune.ranking import rank, table, usage, write_best
from sweeps.tune.search import run_trials
from sweeps.tune.space import DEFAULT_PARAMETERS, RANGES, sample_configurations
from sweeps.tune.trial import Search, TuneJob

CHUNK_SIZE = 8
NUM_CLASSES = 48
KINDS = AXIS_KINDS["tune_recipe"]
BASES = {"default": DEFAULT, "fast": FAST}


class TuneOptions(ModelOptions):
    """Options of the recipe search."""

    output: str = output_field("tune_recipe")
    model: str = Field("efficientnet_lite0", description="The generating classifier.")
    judges: str = Field(
        "efficientnet_lite1", description="The first judge's accuracy is the objective; others are recorded."
    )
    classes: str | None = Field(
        None, description=f"Target classes: `0-31,291` or `all`; {NUM_CLASSES} spread evenly if not given."
    )
    num_samples: int = Field(32, ge=1, description="Configurations; the first is the base itself.")
    time_budget: float | None = Field(None, gt=0, description="Seconds after which the search stops.")
    num_steps: int | None = Field(None, ge=1, description="Steps of the base, which set the cost of all.")
    image_size: int | None = Field(None, ge=16, le=4096, description="Pixels; the model's own if not given.")
    base: str = Field("default", description=f"Where to start: {', '.join(BASES)}, or a YAML file.")
    parameters: str | None = Field(
        None,
        description=f"Fields to search, of {', '.join(RANGES)}, or `all`; if not given, those of the run "
        f"directory, or else {','.join(DEFAULT_PARAMETERS)}.",
    )


def tune_sweep(options: TuneOptions) -> tuple[Sweep, Search]:
    """Resolve the options against the model. Raises ValueError for whatever cannot work."""
    before = recorded(options).get("settings", {})
    known = ",".join(before.get("parameters", DEFAULT_PARAMETERS))
    parameters = parse_names("parameters", options.parameters or known, tuple(RANGES))
    base = _read_base(options, before.get("base"))
    if options.judges == "none":
        raise ValueError("judges: 'none' leaves no objective; accepted: names separated by commas")
    model = options.model_choice()
    weights = read_weights(model, options.judges)
    classifier = build_generator(weights.model)
    classes = _parse_classes(options.classes, classifier.num_classes)
    chunks = shuffled_chunks(classes, options.shard_size or CHUNK_SIZE, options.seed)
    image_size = options.image_size or classifier.image_size
    samples = sample_configurations(base, parameters, options.num_samples, options.seed, image_size)
    configurations = {f"tuned-{settings_digest(settings)}": settings for settings in samples}
    recipes = {name: pyramid_recipe(settings) for name, settings in configurations.items()}
    settings = GenerateSettings(
        output=RunDirectory(options.output).url,  # absolute: an actor works in another folder
        recipes=recipes,
        image_size=image_size,
        input_scaling="model",
        num_steps=None,
        sweep_seed=options.seed,
        frames=frozenset(),
        frame_every=1,
        batch_size=chosen_batch_size(options),
        precision=options.precision,
    )
    search = Search(
        settings=settings,
        codes=taken(),
        configurations=configurations,
        chunks=chunks,
        objective=next(iter(weights.judges)),
    )
    sweep = Sweep(
        name="tune_recipe",
        kinds=KINDS,
        requested=({"recipe": tuple(configurations), "chunk": tuple(range(len(chunks)))},),
        settings={
            **model.settings(),
            "model_digest": weights.model.digest,
            "image_size": image_size,
            "seed": options.seed,
            "precision": options.precision,
            "judges": {name: checkpoint.digest for name, checkpoint in weights.judges.items()},
            "objective": search.objective,
            "classes": format_integers(classes),
            "shard_size": len(chunks[0]),
            "base": identity_of_settings(base),
            "parameters": list(parameters),
        },
        definitions=weights.model_definitions
        | {f"recipe {name}": recipe_digest(recipe) for name, recipe in recipes.items()},
        batch_size=settings.batch_size,
        provenance={"num_classes": classifier.num_classes},
        shard_size=1,  # cells of the plan are chunks
        factory=partial(TuneJob, search),
        shared=weights,
        notes=weights.model.notes,
        bytes_per_cell=2 * classifier.channels * image_size * image_size // 3 * len(chunks[0]),
        check=partial(_try_base, settings, weights),
        warm_up=lambda: _seconds_per_chunk(TuneJob(search, weights), search),
    )
    return sweep, search


def shuffled_chunks(classes: tuple[int, ...], size: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return the classes in an order that depends on the seed alone, cut into chunks of `size`."""
    order = sorted(classes, key=lambda index: derive_seed("order of classes", seed, index))
    return tuple(tuple(order[start : start + size]) for start in range(0, len(order), size))


def _parse_classes(text: str | None, num_classes: int) -> tuple[int, ...]:
    if text is not None:
        return parse_integers("classes", text, limit=num_classes)
    count = min(NUM_CLASSES, num_classes)
    return tuple(position * num_classes // count for position in range(count))


def _read_base(options: TuneOptions, recorded_base: object) -> PyramidSettings:
    """Return the settings to start from; a search that began at those of the version before goes on with them."""
    if not is_file(options.base) and options.base not in BASES:
        raise ValueError(
            f"base: unknown recipe {options.base!r}; accepted: {', '.join(BASES)}, or a .yaml file"
        )
    candidates = [EARLIER_PYRAMIDS[options.base]] if options.base in EARLIER_PYRAMIDS else []
    candidates.append(read_settings_file(options.base) if is_file(options.base) else BASES[options.base])
    if options.num_steps is not None:
        candidates = [replace(each, num_steps=options.num_steps) for each in candidates]
    return candidates[0] if identity_of_settings(candidates[0]) == recorded_base else candidates[-1]


def _try_base(settings: GenerateSettings, weights: Weights) -> None:
    """Try one step of the base, whose sizes are like those of all configurations; ValueError if it fails."""
    name = next(iter(settings.recipes))
    try_recipes(replace(settings, recipes={name: settings.recipes[name]}), weights)


def _seconds_per_chunk(job: TuneJob, search: Search) -> dict[str, float]:
    """Measure seconds a chunk for the base; all configurations cost the same."""
    chunk_size = len(search.chunks[0])
    seconds = chunk_size * job.seconds_per_cell(next(iter(search.configurations)))
    return dict.fromkeys(search.configurations, seconds)


def run_search(options: TuneOptions) -> int:
    """Complete the search in its run directory, print the best recipe and return the exit status."""
    sweep, search = tune_sweep(options)
    run = RunDirectory(options.output)
    before = run.read_sweep()
    wanted = merge(before, sweep, sweep.shard_size)
    plan = plan_of(wanted, KINDS)
    if options.plan:
        print_plan(sweep, wanted, options, run)
        print("A cell is a chunk of classes. Early stopping leaves out most chunks: all of this is a bound.")
        return 0
    run.check_writable()
    search = search.with_shards(plan.shards(sweep.requested))
    grows = before is None or len(before["blocks"]) < len(plan.blocks)
    if not grows and run.succeeded():
        record(run, sweep, sweep.shard_size)
        status = 0
    else:
        if sweep.check is not None:
            sweep.check()
        with connect(options.address, num_cpus=options.num_workers) as session:
            invocation = record(run, sweep, sweep.shard_size)["invocations"][-1]
            search = replace(search, invocation=invocation)
            status = _try_all(sweep, search, run, session, options)
    if status != INTERRUPTED:
        _conclude(run, search, options)
    return status


def _try_all(sweep: Sweep, search: Search, run: RunDirectory, session: Session, options: TuneOptions) -> int:
    workers = pool_options(options, session)
    num_chunks = len(search.shards) * len(search.chunks)
    progress = Progress(sweep.name, num_chunks, run.write_progress)
    progress.log(
        f"{sweep.name}: {len(search.shards)} configurations, at most {len(search.chunks)} chunks of classes"
        f" each, in {run.url} on {workers.num_workers} workers x {workers.threads_per_worker} threads"
    )
    for note in sweep.notes:
        progress.log(note)
    run.clear_success()
    try:
        with notices_of(sweep, options, run, progress.log) as notices, progress:
            progress.listener = notices.tell
            search = replace(
                search, num_threads=workers.threads_per_worker, gpus_per_worker=workers.gpus_per_worker
            )
            outcome = run_trials(search, sweep.shared, workers, options.time_budget, progress)
            notices.ends(SOME_QUARANTINED if outcome.failed else 0)
    except KeyboardInterrupt:
        progress.log(how_to_resume(progress, run))
        return INTERRUPTED
    if outcome.failed:
        progress.log(f"{len(outcome.failed)} configurations failed; see {run.url}/failures/")
        return SOME_QUARANTINED
    if undecided := search.shards.keys() - outcome.decided:
        progress.log(
            f"The time is up with {len(undecided)} configurations undecided; the same command continues."
        )
    else:
        run.mark_success()
    return 0


def _conclude(run: RunDirectory, search: Search, options: TuneOptions) -> None:
    ranked = rank(run, search)
    if not ranked:
        print("No configuration has finished a chunk of classes.")
        return
    print(table(ranked, search))
    file = write_best(run, ranked[0], search)
    print(f"Written to {file}; generate with it:")
    repeated = ("model", "code", "weights", "mean", "std", "channels", "class_names", "image_size")
    print(f"  {usage(file, options.model_dump(include=set(repeated)))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(TuneOptions, run_search, arguments)


if __name__ == "__main__":
    sys.exit(main())
