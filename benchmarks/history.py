"""How fast SIGReg was at each commit:  python -m benchmarks.history [--asv .asv/results] [--out results/speed_history]

``make speed-history`` has asv measure what the class below times, at the commits of ``history_commits.txt`` and at
the present one, and then runs this, which writes ``rows.csv``, ``speed_history.png`` and ``manifest.json``, and the
table of docs/speed.md. The class uses the official package's names alone, which every commit since the first
understands. A number is a ratio of two processor times of one process, taken in turns, so that numbers of commits
measured at different moments compare: a busy machine slows both.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pandas as pd

PAGE = Path("docs/speed.md")
PICTURE = "speed_history.png"
#: A step is told where all turns of two commits lie apart, which three and three do by chance in one case of ten, and
#: the medians by this factor.
CLEAR = 1.5
TURNS = 3
SECONDS = 2.0  # of processor time, for one ratio
SIZES = {"N512 K128 M1024": (512, 128, 1024), "N2048 K512 M1024": (2048, 512, 1024)}
OPERATIONS = ("sigreg-ep", "sigreg-ep, hd3", "Anderson-Darling")


class History:
    """Forward and backward of a sliced statistic over the two dense products of its size, on one thread."""

    params = (list(OPERATIONS), list(SIZES), list(range(TURNS)))
    param_names = ("operation", "size", "turn")
    timeout = 300

    def setup(self, operation: str, size: str, turn: int) -> None:
        num_samples, dim, num_slices = SIZES[size]
        torch.set_num_threads(1)
        x = torch.randn(num_samples, dim, generator=torch.Generator().manual_seed(turn))
        a = torch.randn(dim, num_slices)
        y = torch.randn(num_samples, num_slices)
        self.products = lambda: (x @ a, y @ a.T)
        self.loss = _loss(operation, num_slices, x.clone().requires_grad_())
        self.loss()

    def track_time_over_two_products(self, *_: object) -> float:
        """Ratio of the medians of calls in turns."""
        seconds: tuple[list[float], list[float]] = [], []
        until = time.process_time() + SECONDS
        while time.process_time() < until or len(seconds[0]) < 3:
            for call, taken in zip((self.loss, self.products), seconds, strict=True):
                start = time.process_time()
                call()
                taken.append(time.process_time() - start)
        return statistics.median(seconds[0]) / statistics.median(seconds[1])


def _loss(operation: str, num_slices: int, x: torch.Tensor) -> Callable[[], None]:
    """A call of the operation; NotImplementedError, by which asv leaves it out, where a commit does not have it."""
    try:
        if operation == "sigreg-ep, hd3":
            from sigreg_lab.regularizers import make_regularizer

            regularizer = make_regularizer("sigreg-ep", num_slices=num_slices, directions="hd3")
            generator = torch.Generator().manual_seed(0)
            return lambda: regularizer(x[None], generator).backward()
        from sigreg_lab.multivariate import SlicingUnivariateTest
        from sigreg_lab.univariate import AndersonDarling, EppsPulley

        statistic = EppsPulley() if operation == "sigreg-ep" else AndersonDarling()
        module = SlicingUnivariateTest(univariate_test=statistic, num_slices=num_slices)
        return lambda: module(x).backward()
    except (ImportError, TypeError, ValueError) as missing:
        raise NotImplementedError(f"not at this commit: {missing}") from missing


def read(folder: Path) -> "pd.DataFrame":
    """What asv stored: a row for each commit, operation and size, oldest commit first; median, least and most of turns.

    Raises:
        SystemExit: asv has stored nothing of this benchmark.
    """
    import pandas as pd

    name = f"history.{History.__name__}.{History.track_time_over_two_products.__name__}"
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*/*-*.json")):
        stored = json.loads(file.read_text(encoding="utf-8"))
        found = dict(zip(stored["result_columns"], stored["results"].get(name, []), strict=False))
        if not found.get("result"):
            continue
        values = iter(found["result"])
        for operation, size in itertools.product(*found["params"][:2]):
            turns = [value for value in itertools.islice(values, len(found["params"][2])) if value == value and value]
            if turns:
                rows.append(
                    {"commit": stored["commit_hash"], "date": stored["date"], "cpu": stored["params"]["cpu"],
                     "operation": operation.strip("'"), "size": size.strip("'"), "median": statistics.median(turns),
                     "least": min(turns), "most": max(turns), "turns": len(turns)}
                )  # fmt: skip
    if not rows:
        raise SystemExit(f"{folder} holds no times of {name}: run make speed-history")
    return pd.DataFrame(rows).sort_values("date", kind="stable", ignore_index=True)


def steps(table: "pd.DataFrame") -> str:
    """A line for each commit at which a time changed clearly, as a Markdown table."""
    lines = []
    for commit, rows in table.groupby("commit", sort=False):
        changes = []
        for row in rows.itertuples():
            earlier = table[(table["operation"] == row.operation) & (table["size"] == row.size)]
            earlier = earlier[earlier["date"] < row.date]
            if earlier.empty:
                continue
            last = earlier.iloc[-1]
            apart = row.most < last["least"] or row.least > last["most"]
            factor = max(row.median, last["median"]) / min(row.median, last["median"])
            if apart and factor > CLEAR:
                word = "less" if row.median < last["median"] else "more"
                changes.append(f"{row.operation}, {row.size}: {factor:.1f} times {word}, {row.median:.2f}")
        if changes:
            lines.append(f"| `{str(commit)[:7]}` | {rows['subject'].iloc[0]} | {'; '.join(changes)} |")
    head = "| commit | what it did | time, and what it is since, in times of the two products |\n| --- | --- | --- |"
    return "\n".join([head, *lines]) + "\n"


def draw(table: "pd.DataFrame", file: Path) -> None:
    """Time over that of the two products by commit: a panel for each size, a line for each operation."""
    from sigreg_lab.experiment.results import DPI
    from sigreg_lab.figures.theme import new_figure, palette, themed

    commits = list(dict.fromkeys(table["commit"]))
    colours = palette(OPERATIONS)
    with themed():
        figure = new_figure(3.6 * len(SIZES), 3.8)
        axes = figure.subplots(1, len(SIZES), sharey=True)
        for axis, (size, rows) in zip(axes, table.groupby("size", sort=False), strict=True):
            for operation, line in rows.groupby("operation", sort=False):
                places = [commits.index(commit) for commit in line["commit"]]
                colour = colours[str(operation)]
                axis.plot(places, line["median"], drawstyle="steps-post", color=colour, label=operation)
                axis.vlines(places, line["least"], line["most"], color=colour)
            axis.axhline(1, color="0.5", linestyle=":")
            axis.set(title=size, yscale="log", xlabel="commit, oldest first")
            axis.set_xticks(range(len(commits)), [commit[:7] for commit in commits], rotation=90, fontsize=6)
        axes[0].set_ylabel("time over two products")
        figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=len(OPERATIONS))
        figure.savefig(file, dpi=DPI, metadata={"Software": None})


def main() -> None:
    from benchmarks.table import write  # not above: asv imports this file beside commits that have no such part
    from sigreg_lab.experiment.provenance import now, provenance

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asv", type=Path, default=Path(".asv/results"), help="what asv stored")
    parser.add_argument("--out", type=Path, default=Path("results/speed_history"))
    arguments = parser.parse_args()
    table = read(arguments.asv)
    subjects = {
        commit: subprocess.check_output(["git", "log", "-1", "--format=%s", commit], text=True).strip()
        for commit in dict.fromkeys(table["commit"])
    }
    table["subject"] = table["commit"].map(subjects)
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(table, arguments.out / PICTURE)
    session = {"written": now(), "measured by": "asv", **provenance()}
    write(arguments.out, table.to_dict("records"), [], session, drawn=[PICTURE])
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")


def renewed(page: str, table: "pd.DataFrame") -> str:
    """A page with the steps between its marks."""
    text = steps(table)
    return re.sub(r"(<!-- steps -->).*?(<!-- end -->)", lambda found: f"{found[1]}\n{text}{found[2]}", page, flags=re.S)


if __name__ == "__main__":
    main()
