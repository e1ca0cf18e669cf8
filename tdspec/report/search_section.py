"""The section about a search: every trial as a point, the chosen one, and all values.

In: `Outcome`s. Out: HTML, empty where there was no search.
Leaves out: the rest of a page (`study_page.py`, `tune_page.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from tdspec.report import html
from tdspec.report.plots import Dots, dots
from tdspec.spec.figures import MORE_IS_BETTER
from tdspec.study.outcomes import Outcome, TrialRecord, in_one_sentence


def search_section(outcomes: Sequence[Outcome], average: Sequence[str] = ()) -> list[str]:
    """A section with a panel and a table for each search; none where there is none.

    Args:
        outcomes: of the searches.
        average: axes whose values a trial is the mean over.
    """
    if not outcomes:
        return []
    better = "higher" if MORE_IS_BETTER[outcomes[0].figure] else "lower"
    over = "".join(f" and over {key}, where its values are not searched apart" for key in average)
    note = (
        "Each trial was judged by its best figure on validation, the mean over the seeds of the search, which are no "
        f"seeds of the runs{over}; the test split was not read. {better.capitalize()} is better; a diamond marks the "
        "chosen trial. The first trial has the spec's own values, where the space holds them."
    )
    panels = [_panel(outcome) for outcome in outcomes if outcome.best is not None]
    parts: list[str] = [html.paragraph(note, "note"), html.panels(panels)]
    for outcome in outcomes:
        parts += [html.paragraph(in_one_sentence(outcome)), _trials(outcome)]
    return [html.section("Search", *parts)]


def _panel(outcome: Outcome) -> str:
    known = [(trial.number, trial.value) for trial in outcome.trials if trial.value is not None]
    title = f"{outcome.name}: validation {outcome.figure}"
    picture = dots(title, [Dots([number for number, _ in known], [value for _, value in known], outcome.best)], "trial")
    failed = sum(trial.state == "failed" for trial in outcome.trials)
    pruned = sum(trial.state == "pruned" for trial in outcome.trials)
    caption = f"{len(known)} complete, {pruned} ended early, {failed} failed."
    return html.figure(picture, caption, "plot single")


def _trials(outcome: Outcome) -> str:
    keys = list(outcome.space)
    rows = [_row(trial, keys) for trial in outcome.trials]
    header = ("trial", *(f"{key}: {outcome.space[key]}" for key in keys), f"validation {outcome.figure}", "state")
    numbers = tuple(range(len(keys) + 2))
    return html.folded_table(f"All trials of {outcome.name}", header, rows, numbers=numbers)


def _row(trial: TrialRecord, keys: Sequence[str]) -> tuple[str, ...]:
    texts = [_text(trial.values[key]) if key in trial.values else "-" for key in keys]
    figure = "-" if trial.value is None else f"{trial.value:.4f}"
    return (str(trial.number), *texts, figure, trial.error or trial.state)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
