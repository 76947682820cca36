"""Guesses held against a key: a verdict for each picture, and the share that was named, with its interval."""

from collections.abc import Mapping

import pandas as pd

from analysis.blind.answers import Answers
from analysis.blind.guesses import Guess
from analysis.blind.words import canonical
from analysis.intervals import wilson_interval

ALL_RECIPES = "all recipes"

# Which verdicts each score counts, and on which guesses; `kind` is the looser reading of the same guesses.
SCORES = {
    "right at first": (["right"], ["verdict"]),
    "right with the second": (["right"], ["verdict", "second_verdict"]),
    "kind at first": (["right", "kind"], ["verdict"]),
    "kind with the second": (["right", "kind"], ["verdict", "second_verdict"]),
}
NO_GUESS = "none"
_PICTURE_COLUMNS = (
    "number", "class_index", "wnid", "class_name", "model", "recipe", "seed", "guess", "verdict", "second",
    "second_verdict", "certainty", "note",
)  # fmt: skip


def score_pictures(
    key: pd.DataFrame, guesses: Mapping[int, Guess], answers: Mapping[int, Answers]
) -> pd.DataFrame:
    """Return a row for each picture of the key, by number, with its guesses, `verdict` and `note`.

    `verdict` is of the first guess, `second_verdict` of the second: `right`, `kind`, `wrong`, or `none` if there
    is no guess. `note` says what guesses that are not right come near to.
    """
    given = [guesses.get(number, Guess()) for number in key["number"]]
    pairs = [(guess, answers[index]) for guess, index in zip(given, key["class_index"], strict=True)]
    table = key.assign(
        guess=[each.guess for each in given],
        verdict=[_verdict(guess.guess, answer) for guess, answer in pairs],
        second=[each.second for each in given],
        second_verdict=[_verdict(guess.second, answer) for guess, answer in pairs],
        certainty=[each.certainty for each in given],
        note=[_note(guess, answer) for guess, answer in pairs],
    )
    return table[list(_PICTURE_COLUMNS)]


def score_table(pictures: pd.DataFrame) -> pd.DataFrame:
    """Return each score by recipe, and of all if there are several: `num_named`, `count`, `rate`, `low`, `high`.

    The interval is Wilson's, 95 %. A picture without a guess counts as not named.
    """
    groups = dict(list(pictures.groupby("recipe", sort=False)))
    if len(groups) > 1:
        groups[ALL_RECIPES] = pictures
    table = pd.DataFrame(
        [
            {"recipe": recipe, "score": score, "num_named": _num_named(group, score), "count": len(group)}
            for recipe, group in groups.items()
            for score in SCORES
        ]
    )
    low, high = wilson_interval(table["num_named"], table["count"])
    return table.assign(rate=table["num_named"] / table["count"], low=low, high=high)


def review(pictures: pd.DataFrame, answers: Mapping[int, Answers]) -> pd.DataFrame:
    """Return each guess that is not right, with its class, for a person to decide: the form of `--accept`."""
    rows = [
        {
            "class_index": picture.class_index,
            "wnid": picture.wnid,
            "class_name": picture.class_name,
            "accepted": guess,
            "counts_as": "kind" if answers[picture.class_index].verdict(guess) == "kind" else "",
            "note": answers[picture.class_index].near_miss(guess),
        }
        for picture in pictures.itertuples()
        for guess in (picture.guess, picture.second)
        if canonical(guess) and answers[picture.class_index].verdict(guess) != "right"
    ]
    columns = ["class_index", "wnid", "class_name", "accepted", "counts_as", "note"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(["class_index", "accepted"])


def _num_named(pictures: pd.DataFrame, score: str) -> int:
    counted, columns = SCORES[score]
    return int(pictures[columns].isin(counted).any(axis=1).sum())


def _verdict(guess: str, answers: Answers) -> str:
    return answers.verdict(guess) if canonical(guess) else NO_GUESS


def _note(guess: Guess, answers: Answers) -> str:
    texts = [text for text in (guess.guess, guess.second) if _verdict(text, answers) in ("kind", "wrong")]
    near = {text: answers.near_miss(text) for text in texts}
    return "; ".join(f"{text}: {miss}" for text, miss in near.items() if miss)
