"""Blind naming: numbered sheets of generated pictures without labels, and the score of what a person wrote.

python -m analysis.blind RUN --output DIR [--key FILE] [--classes 0-9,291] [--recipes NAME,NAME] [--sample 60]
                             [--seed 0] [--per-sheet 12] [--image-size 320]
python -m analysis.blind score GUESSES.csv --key FILE [--accept FILE.csv] [--review FILE.csv] [--output FILE.csv]

The first form writes sheets and an empty `guesses.csv` into a folder to give away, and the key beside it.
A picture is named right if the guess is its class's name or a synonym of WordNet; case, plurals, hyphens, articles
and British spelling make no difference. `kind` is a second, looser score: the guess says what the class is one of,
as `dog` for a Labrador, if no more than 125 of ImageNet's 1,000 classes are of that kind.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.blind.answers import all_answers, read_decisions
from analysis.blind.guesses import read_guesses
from analysis.blind.key import read_key
from analysis.blind.pictures import Choice, numbered_pictures, parse_classes
from analysis.blind.scoring import NO_GUESS, review, score_pictures, score_table
from analysis.blind.sheets import Layout, Place, write_naming
from analysis.blind.wordnet import timm_words, unknown_wnids
from analysis.blind.words import single_names
from analysis.command_line import exit_status, table_path, write_table
from analysis.run import open_sweep
from sweeps.store.terminal_text import terminal_text

SCORE = "score"
# Sweeps whose images show classes.
KINDS = ("generate", "tune_recipe")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make sheets, or score guesses if the first word is `score`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [SCORE]:
        _score(_score_parser().parse_args(given[1:]))
    else:
        _make(_sheets_parser().parse_args(given))


def _make(options: argparse.Namespace) -> None:
    choice = Choice(
        classes=None if options.classes is None else parse_classes(options.classes),
        recipes=None if options.recipes is None else options.recipes.split(","),
        sample=options.sample,
        seed=options.seed,
    )
    layout = Layout(per_sheet=options.per_sheet, image_size=options.image_size)
    place = Place.of(options.output, options.key)
    run = open_sweep(options.run, *KINDS)
    pictures = numbered_pictures(run, choice)
    for path in write_naming(run, pictures, layout, place):
        print(path)
    print(
        f"{len(pictures)} pictures of {pictures['class_index'].nunique()} classes: give {place.folder} away, and "
        f"keep {place.key}"
    )


def _score(options: argparse.Namespace) -> None:
    key = read_key(options.key)
    guesses = read_guesses(options.guesses, key["number"])
    decisions = {} if options.accept is None else read_decisions(options.accept, key)
    answers = all_answers(key, decisions)
    pictures = score_pictures(key, guesses, answers)
    print(terminal_text(_listing(pictures)))
    print()
    print(terminal_text(score_table(pictures).to_string(index=False, float_format="{:.3f}".format)))
    for note in _notes(pictures):
        print(terminal_text(note))
    for table, path in ((pictures, options.output), (review(pictures, answers), options.review)):
        if path is not None:
            write_table(table, path)
            print(path)


def _listing(pictures: pd.DataFrame) -> str:
    """Return a line for each picture; of a class's names, the first."""
    shown = pictures.assign(
        name=[(single_names(name) or [name])[0] for name in pictures["class_name"]],
    )
    columns = [
        "number",
        "class_index",
        "name",
        "recipe",
        "guess",
        "verdict",
        "second",
        "second_verdict",
        "note",
    ]
    return shown[columns].to_string(index=False)


def _notes(pictures: pd.DataFrame) -> list[str]:
    """Return what a reader of the scores must know."""
    notes = []
    if num := int((pictures[["verdict", "second_verdict"]] == NO_GUESS).all(axis=1).sum()):
        notes.append(f"pictures without a guess, which count as not named: {num} of {len(pictures)}")
    if num := int((pictures["note"] != "").sum()):
        notes.append(
            f"pictures whose note is for you to decide: {num}; --review FILE.csv lists them for --accept"
        )
    if unknown := unknown_wnids(pictures["wnid"]):
        advice = "" if timm_words() else "; with timm installed, more are known"
        notes.append(f"no synonyms are known of {', '.join(unknown)}: the class names alone count{advice}")
    if pictures["class_name"].str.fullmatch(r"\d+").all():
        notes.append("the classes of this run have no names: give them by --accept FILE.csv")
    return notes


def _sheets_parser() -> argparse.ArgumentParser:
    choice, layout = Choice(), Layout()
    parser = argparse.ArgumentParser(
        prog="python -m analysis.blind",
        description="Numbered sheets of generated pictures without labels, for a person to name.",
        epilog="`python -m analysis.blind score GUESSES.csv --key FILE` scores what was written.",
    )
    parser.add_argument("run", metavar="RUN", help="run directory of generate_all.py: path or URL")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="new folder of the sheets, to give away"
    )
    parser.add_argument("--key", metavar="FILE", type=Path, help="what the pictures show (DIR-key.csv)")
    parser.add_argument("--classes", metavar="0-9,291", help="class indices (all)")
    parser.add_argument("--recipes", metavar="NAME,NAME", help="recipes, which take turns (all)")
    whole = {"metavar": "N", "type": int}
    parser.add_argument("--sample", **whole, default=choice.sample, help="most pictures (%(default)s)")
    parser.add_argument("--seed", **whole, default=choice.seed, help="of sample and order (%(default)s)")
    parser.add_argument(
        "--per-sheet", **whole, default=layout.per_sheet, help="pictures a sheet (%(default)s)"
    )
    parser.add_argument(
        "--image-size", **whole, default=layout.image_size, help="longer side in pixels (%(default)s)"
    )
    return parser


def _score_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.blind score", description="Score the guesses of a blind naming."
    )
    parser.add_argument("guesses", metavar="GUESSES", type=Path, help="CSV: number,guess,second,certainty")
    parser.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help="the key written with the sheets"
    )
    parser.add_argument(
        "--accept",
        metavar="FILE",
        type=Path,
        help="CSV of words that count too: wnid or class_index, accepted, counts_as (right, kind or wrong)",
    )
    parser.add_argument(
        "--review",
        metavar="FILE",
        type=table_path,
        help="write the guesses that are not right here, in the form of --accept, to decide about",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=table_path, help="write a row a picture: .csv or .parquet"
    )
    return parser


if __name__ == "__main__":
    sys.exit(exit_status(main))
