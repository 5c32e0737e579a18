"""An ablation on paper: Markdown, CSV and one HTML file that needs nothing beside it."""

import csv
import html
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from curation.bootstrap import LEVEL, Interval
from curation.errors import UsageError
from curation.one_line import one_line
from db.models import Split
from pipelines.ablation import Ablation
from pipelines.compare import METRICS, Comparison
from pipelines.score_tables import MEANS, NOTHING, Table, comparison_tables, difference_tables
from pipelines.whole_files import write_whole

NAMES = ("ablation.md", "ablation.csv", "ablation_cases.csv", "ablation.html")


def write_report(found: Ablation, folder: Path, *, replace: bool = False) -> list[Path]:
    """Write Markdown, CSV (the table, and the scores behind it) and HTML, each whole.

    Args:
        found: What to write.
        folder: Where; made if it is not there.
        replace: Whether files of an earlier report may be replaced.

    Returns:
        The files.

    Raises:
        UsageError: The folder is a file, or holds such a file and `replace` is not given.
    """
    check_folder(folder, replace=replace)
    texts = (markdown(found), table_csv(found.comparison), cases_csv(found.comparison), html_page(found))
    files = [folder / name for name in NAMES]
    for file, text in zip(files, texts, strict=True):
        write_whole(file, text.encode())
    return files


def check_folder(folder: Path, *, replace: bool) -> None:
    """Refuse what a report could not be written to, before hours are spent on scores.

    Raises:
        UsageError: As `write_report`.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder for the report")
    there = [folder / name for name in NAMES if (folder / name).exists()]
    if there and not replace:
        raise UsageError(f"{there[0]}: exists already; give another folder, or --force to replace the report")


def models_table(found: Ablation) -> Table:
    """What each model was trained on and how."""
    return Table(
        "Models",
        ("model", "kind", "dataset", "train", "val", "labels of", "profile", "seed", "code"),
        tuple(
            (
                one.name,
                one.model.kind.value,
                one.dataset.address if one.dataset else NOTHING,
                str(len(one.split(Split.TRAIN))) if one.dataset else NOTHING,
                str(len(one.split(Split.VAL))) if one.dataset else NOTHING,
                ", ".join(one.model.origins or ()) or NOTHING,
                str((one.model.profile or {}).get("name") or NOTHING),
                NOTHING if one.model.seed is None else str(one.model.seed),
                one.model.code_version or NOTHING,
            )
            for one in found.models
        ),
        (3, 4, 7),
    )


def tables(found: Ablation) -> list[Table]:
    """All tables of a report, in its order."""
    return [*comparison_tables(found.comparison), models_table(found)]


def warnings(found: Ablation) -> list[str]:
    """What a reader has to know before the table, the worst first."""
    return [*(f"SEEN IN TRAINING: {line}" for line in found.leaks), *found.doubts]


def summary(found: Ablation) -> str:
    """One sentence on what was compared."""
    comparison = found.comparison
    left_out = f"; {len(comparison.left_out)} left out, see below" if comparison.left_out else ""
    return (
        f"{', '.join(comparison.models)} on {comparison.cases} of {comparison.cases + len(comparison.left_out)} cases "
        f"of '{found.query}', protocol {comparison.protocol}{left_out}."
    )


def markdown(found: Ablation) -> str:
    """The report as Markdown."""
    lines = ["# Ablation", "", _escaped(summary(found)), ""]
    lines += [f"> **{_escaped(line)}**\n" for line in warnings(found)]
    for table in tables(found):
        lines += [f"## {_escaped(table.title)}", ""]
        rule = [("--:" if i in table.numeric else "---") for i in range(len(table.columns))]
        lines += [_md_row(map(_escaped, table.columns)), _md_row(rule)]
        lines += [
            _md_row([f"**{c}**" if row[0] in MEANS else c for c in map(_escaped, row)]) for row in table.rows
        ]
        lines.append("")
    if found.comparison.left_out:
        lines += ["## Left out", ""]
        lines += [f"- {_escaped(one.case)}: {_escaped(one.reason)}" for one in found.comparison.left_out]
        lines.append("")
    return "\n".join(lines)


def _md_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    # A pipe would end a cell; angle brackets would be markup.
    text = one_line(text).replace("\\", "\\\\")
    for sign in "|<*_`":
        text = text.replace(sign, f"\\{sign}")
    return text


def table_csv(comparison: Comparison) -> str:
    """A row per class and model; shares from 0 to 1, empty where nothing is known."""
    columns = ["class", "model", "cases", "dsc", "dsc_std", "nsd", "nsd_std"]
    columns += [f"{metric}_{part}" for metric in METRICS for part in ("difference", "low", "high")]
    rows: list[list[object]] = []
    for row in comparison.rows:
        for model, value in row.values.items():
            cells: list[object] = [row.label, model, value.n]
            cells += map(_number, (value.dsc, value.dsc_std, value.nsd, value.nsd_std))
            difference = row.differences.get(model)
            for metric in METRICS:
                interval = (
                    getattr(difference, metric) if difference else Interval(math.nan, math.nan, math.nan)
                )
                cells += map(_number, (interval.difference, interval.low, interval.high))
            rows.append(cells)
    return _csv(columns, rows)


def cases_csv(comparison: Comparison) -> str:
    """A row per case, class and model: the scores that the table is made of, and what the prediction took."""
    rows = [
        [
            row.case, row.class_name, model, row.dsc, row.nsd,
            *("" if figure is None else figure for figure in (row.seconds, row.peak_memory_mb, row.memory_area_mb_s)),
        ]
        for model, of in comparison.scores.items()
        for row in of
    ]  # fmt: skip
    return _csv(
        ["case", "class", "model", "dsc", "nsd", "seconds", "peak_memory_mb", "memory_area_mb_s"], rows
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def html_page(found: Ablation) -> str:
    """The report as one HTML file, Plotly within."""
    # Plotly takes a second to come, and the other files need none.
    from pipelines.score_figures import differences_figure, scores_figure

    comparison = found.comparison
    figures = [("Scores per class, every case a point", scores_figure(comparison))]
    if difference_tables(comparison):
        title = f"Differences from {comparison.baseline}, with {100 * LEVEL:.0f} % intervals"
        figures.append((title, differences_figure(comparison)))
    parts = [f"<h1>Ablation</h1><p>{html.escape(summary(found))}</p>"]
    parts += [f'<p class="beware">{html.escape(line)}</p>' for line in warnings(found)]
    first, *others = tables(found)
    parts.append(_html_table(first))
    for number, (title, figure) in enumerate(figures):
        drawn = figure.to_html(
            full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False, "responsive": True}
        )
        parts.append(f"<h2>{html.escape(title)}</h2>{drawn}")
    parts += [_html_table(table) for table in others]
    if comparison.left_out:
        items = "".join(
            f"<li>{html.escape(one.case)}: {html.escape(one.reason)}</li>" for one in comparison.left_out
        )
        parts.append(f"<h2>Left out</h2><ul>{items}</ul>")
    return _PAGE.replace("BODY", "\n".join(parts))


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Ablation</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2429; background: #fff; max-width: 1180px; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.05rem; margin-top: 2.2rem }
.beware { background: #fdecea; border-left: 4px solid #c0392b; padding: .5rem .8rem; font-weight: 600 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #e3e8ea; white-space: nowrap }
th { border-bottom: 2px solid #7d8b92 } .n { text-align: right } .sum td { font-weight: 600; background: #f4f7f8 }
</style></head><body>
BODY
</body></html>
"""


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in table.numeric else ''}>{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(
        f"<tr{' class=sum' if cells[0] in MEANS else ''}>{row(cells, 'td')}</tr>" for cells in table.rows
    )
    return (
        f'<h2>{html.escape(table.title)}</h2><div class="wide"><table>'
        f"<thead><tr>{row(table.columns, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )
