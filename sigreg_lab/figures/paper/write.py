"""Files of the figures: PDF and PNG, tables as Markdown and LaTeX, captions, and the manifest that all stand in."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.results import MANIFEST, beside, digest
from sigreg_lab.experiment.study import StudyError
from sigreg_lab.experiment.tables import markdown_table
from sigreg_lab.figures.paper.parts import Drawing, Item, Table
from sigreg_lab.figures.paper.registry import ITEMS
from sigreg_lab.figures.paper.sources import BENCHMARKS, Sources
from sigreg_lab.figures.theme import themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = "captions.md"
DPI = 300


def chosen(only: Sequence[str] = ()) -> list[Item]:
    """The items of these keys, in the paper's order; all if none is given.

    Raises:
        StudyError: an unknown key.
    """
    known = {item.key: item for item in ITEMS}
    unknown = [key for key in only if key not in known]
    if unknown:
        raise StudyError(f"--only {unknown[0]}: no figure of the paper by that key; known: {', '.join(known)}")
    return [item for item in ITEMS if not only or item.key in only]


def draw(item: Item, results: Path) -> tuple[Drawing | None, Sources]:
    """One figure or table, and what it was drawn from.

    Raises:
        StudyError: results are missing, damaged, or lack what the figure shows.
    """
    sources = Sources(results, item.seed or 0)
    if item.draw is None:
        return None, sources
    try:
        with themed(paper=True):
            return item.draw(sources), sources
    except LookupError as error:
        names = ", ".join(item.studies)
        raise StudyError(
            f"{item.key}: the results of {names} lack what it shows ({error}); run again: sigreg-lab study run {names}"
        ) from error


def caption(item: Item, drawing: Drawing | None, sources: Sources) -> str:
    """What is shown, at what scale ours were made, by which code."""
    if drawing is None:
        return f"No picture. Ours: not run. This command makes it: `{item.run}`."
    text = [drawing.text]
    if item.run:
        text.append(f"Ours: not run. This command makes one of our numbers: `{item.run}`.")
    elif item.studies:
        text.append(f"Ours: {'; '.join(sources.origin(name) for name in item.studies)}.")
    else:
        git = provenance()["git"]
        commit = f"commit `{git['commit'][:7]}`" if git["commit"] else "commit not known"
        text.append(f"Ours: from theory, {commit}{' with uncommitted changes' if git['dirty'] else ''}.")
    if item.seed is not None:
        text.append(f"Drawn with seed {item.seed}.")
    return " ".join(text)


def write_figures(
    only: Sequence[str], results: Path, out: Path, on_item: Callable[[Item], None] = lambda item: None
) -> list[Path]:
    """Draw figures and tables into a folder; those of other keys in it stay, and stay in captions and manifest.

    Args:
        only: keys; all if empty.
        results: where the studies' results lie.
        out: the folder.
        on_item: told of each before it is drawn.

    Returns:
        The files written, captions and manifest last.

    Raises:
        StudyError: as of ``chosen`` and ``draw``; nothing is written then.
    """
    records = _earlier(out)
    with beside(out) as fresh:
        for item in chosen(only):
            on_item(item)
            drawing, sources = draw(item, results)
            text = caption(item, drawing, sources)
            files = _save(item, drawing, text, fresh)
            records[item.key] = {
                "caption": text,
                "made": now(),
                "read": sources.read,
                "git": provenance()["git"],
                "files": {path.name: digest(path) for path in files},
            }
        records = {item.key: records[item.key] for item in ITEMS if item.key in records}
        (fresh / CAPTIONS).write_text(_captions(records), encoding="utf-8")
        manifest = {"figures": records, "captions": digest(fresh / CAPTIONS), **provenance()}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written = sorted(path.name for path in fresh.iterdir())
    return [out / name for name in sorted(written, key=lambda name: name in (CAPTIONS, MANIFEST))]


def _earlier(out: Path) -> dict[str, Any]:
    """What an earlier call wrote there, as far as its files are still those."""
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["figures"].items()
        return {
            key: record
            for key, record in found
            if all((out / name).is_file() and digest(out / name) == d for name, d in record["files"].items())
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _save(item: Item, drawing: Drawing | None, text: str, folder: Path) -> list[Path]:
    if drawing is None:
        return []
    if isinstance(drawing.content, Table):
        parts = {"md": _markdown(item, drawing.content, text), "tex": _latex(item, drawing.content, text)}
        for ending, content in parts.items():
            (folder / f"{item.key}.{ending}").write_text(content, encoding="utf-8")
        return [folder / f"{item.key}.{ending}" for ending in parts]
    figure: Figure = drawing.content
    pdf, png = folder / f"{item.key}.pdf", folder / f"{item.key}.png"
    with themed(paper=True):  # letters are embedded when the file is written
        figure.savefig(pdf, dpi=DPI, metadata={"CreationDate": None, "Producer": None, "Creator": None})
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
    return [pdf, png]


def _markdown(item: Item, table: Table, text: str) -> str:
    return f"**{item.paper}: {item.title}.** {text}\n\n{markdown_table(table.header, table.rows)}\n"


def _latex(item: Item, table: Table, text: str) -> str:
    """With the rules of booktabs."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(item.title)}. {_escaped(text)}}}",
        rf"\label{{tab:{item.key}}}",
        rf"\begin{{tabular}}{{{'l' + 'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escaped, table.header)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_escaped, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


_LETTERS = {"λ": r"$\lambda$", "α": r"$\alpha$", "\\": r"\textbackslash{}", "^": r"\textasciicircum{}"}
_LETTERS |= {"~": r"\textasciitilde{}"} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


def _escaped(text: str) -> str:
    """For LaTeX; what stands between backticks is set as code."""
    escaped = "".join(_LETTERS.get(letter, letter) for letter in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)


def _captions(records: dict[str, Any]) -> str:
    parts = ["# Figures and tables of the LeJEPA paper, drawn anew\n"]
    for item in ITEMS:
        if item.key not in records:
            continue
        files = records[item.key]["files"]
        shown = f"![{item.title}]({item.key}.png)\n\n" if f"{item.key}.png" in files else ""
        links = ", ".join(f"[{name}]({name})" for name in files)
        parts.append(
            f"## {item.paper}: {item.title}\n\n{shown}{records[item.key]['caption']}\n\n{links}".rstrip() + "\n"
        )
    return "\n".join(parts)


def page() -> str:
    """docs/figures.md: each figure of the paper, what it is drawn from, and the command."""
    rows = []
    for item in ITEMS:
        files = f"`{item.key}.md`, `.tex`" if item.key.startswith("table") else f"`{item.key}.pdf`, `.png`"
        command = f"`sigreg-lab figures paper --only {item.key}`"
        rows.append([item.paper, item.title, _ours(item), files if item.draw else "none", command])
    runs = "\n".join(f"- {item.paper}: `{item.run}`" for item in ITEMS if item.run)
    table = markdown_table(["In the paper", "What it shows", "Ours", "Files", "Command"], rows)
    return _PAGE.format(table=table.replace("---:", "---"), runs=runs)  # texts, all to the left


_PAGE = """# Figures of the paper

`sigreg-lab figures paper` draws every figure and table below into `results/runs/figures`. `--only KEY` draws one, and
`--out FOLDER` chooses another place. Nothing is trained: the command reads stored results and checks them against the
digests of their manifests.

`captions.md`, beside the pictures, gives for each the data, the scale and the commit of our numbers. `manifest.json`
lists the files that each was drawn from. Hollow markers on dashed lines are the paper's published numbers; they stand
in `sigreg_lab/figures/paper/published.json`.

{table}

## Not run

Where ours were not run, the published numbers stand alone. Each command below makes one of our numbers; change its
settings to make the others of that figure. With `cifar10-small` it takes minutes on processors; the other recipes need
a GPU.

{runs}

This page is written by `sigreg-lab figures index > docs/figures.md`.
"""


def _ours(item: Item) -> str:
    if item.run:
        return "not run"
    if not item.studies:
        return "theory" if item.seed is None else f"theory, seed {item.seed}"
    kinds = [f"{'benchmark' if name in BENCHMARKS else 'study'} `{name}`" for name in item.studies]
    return ", ".join([*kinds, *([f"seed {item.seed}"] if item.seed is not None else [])])
