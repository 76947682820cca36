"""Which attributions can be trusted: methods by scores and sanity check, in one table.

python -m analysis.attribution.trust RUN --output DIR [--methods NAME,NAME] [--sample N] [--seed N]
                                         [--format text|markdown|latex|csv]

`docs/attribution.md` says what each score can tell and what it cannot.
"""

import sys
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from analysis.attribution.attributions import STATIC, named_rows
from analysis.attribution.checkpoints import TRAINED, one_checkpoint
from analysis.attribution.choice import method_order
from analysis.attribution.measures import MEASURES, measures_of
from analysis.attribution.method_scores import scores_by_method
from analysis.attribution.sanity import sanity_table
from analysis.attribution.score_table import attribution_scores
from analysis.attribution.verdicts import BADGES, NOT_MEASURED, Verdict, verdicts
from analysis.command_line import exit_status, figure_parser, save_table
from analysis.html.site import Site
from analysis.run import open_sweep
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text

_UNASKED = "the run has no map of a network with layers re-drawn"


def trust_table(
    scores: pd.DataFrame, similarity: pd.DataFrame | None, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a row per method: every score of `attribution_scores` with its interval, and the sanity check.

    Columns: `method`; `count`, `missing`, `constant`, the most of any score; for each score its name, with `_low`
    and `_high` its 95 % interval and with `_count` its images; `sanity` and `sanity_reason`. `scores` are of one
    checkpoint, `similarity` is a table of `similarity_table`, None without one. Rows are in the order of
    `methods`, of the scores unless given.
    """
    rows, judged = scores_by_method(scores, _NO_GAPS, methods), _judged(similarity)
    table = []
    for row in rows:
        facts: dict[str, object] = {"method": row.method, "count": row.count}
        facts |= {"missing": row.missing, "constant": row.constant}
        for name, score in row.by_measure.items():
            facts |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
            facts[f"{name}_count"] = score.count
        verdict = judged.get(row.method, _unjudged(row.method))
        table.append(facts | {"sanity": verdict.verdict, "sanity_reason": verdict.reason})
    return pd.DataFrame(table)


def summary(
    scores: pd.DataFrame, similarity: pd.DataFrame | None, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the main columns of the table as texts, with an asterisk at the best method by each score.

    Without any score these are the method and the sanity check.
    """
    rows, judged = scores_by_method(scores, _NO_GAPS, methods), _judged(similarity)
    return pd.DataFrame(
        [
            {
                "Method": row.method,
                **{
                    score.measure.heading: score.text + ("*" if score.is_best else "")
                    for score in row.in_short
                },
                **({"Images": row.images(row.in_short)} if row.by_measure else {}),
                "Sanity check": judged.get(row.method, _unjudged(row.method)).text,
            }
            for row in rows
        ]
    )


def trust_html(
    scores: pd.DataFrame,
    similarity: pd.DataFrame | None,
    site: Site,
    folder: str,
    *,
    methods: Sequence[str],
) -> Markup:
    """Write the table to a folder of the report and return it as HTML; `folder` also begins the anchors."""
    judged = _judged(similarity)
    table = trust_table(scores, similarity, methods)
    return site.render(
        "trust.html",
        id=folder,
        measures=[MEASURES[name] for name in measures_of(scores) if MEASURES[name].in_short],
        rows=[
            {"row": row, "verdict": judged.get(row.method, _unjudged(row.method))}
            for row in scores_by_method(scores, _NO_GAPS, methods)
        ],
        badges=BADGES,
        files=[("table as CSV", site.table(f"{folder}/trust.csv", table))],
    )


_NO_GAPS = pd.DataFrame(columns=["method", "quantile", "gap"])


def _judged(similarity: pd.DataFrame | None) -> dict[str, Verdict]:
    return {} if similarity is None else {each.method: each for each in verdicts(similarity)}


def _unjudged(method: str) -> Verdict:
    return Verdict(method=method, verdict=NOT_MEASURED, reason=_UNASKED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table that the command line asks for, and write it as CSV and Parquet."""
    parser = figure_parser("python -m analysis.attribution.trust", "Scores and sanity check of each method.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument("--sample", metavar="N", type=int, help="of so many images the sanity check; all")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="draws the sample (%(default)s)")
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, STATIC)
    names = options.methods.split(",") if options.methods else None
    rows = named_rows(run, methods=names)
    checkpoints, similarity = set(map(str, rows["checkpoint"].unique())), None
    if TRAINED in checkpoints and len(checkpoints) > 1:
        similarity = sanity_table(run, names, options.sample, options.seed)
    shown = one_checkpoint(rows)
    scores, methods = attribution_scores(shown), method_order(run, shown["method"].unique())
    print(text_table(summary(scores, similarity, methods), options.format))
    for path in save_table(trust_table(scores, similarity, methods), options.output, "trust"):
        print(terminal_text(str(path)), file=sys.stdout if options.format == "text" else sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main))
