"""A comparison as one HTML page: style and figures inside, nothing fetched; for any width, light and dark."""

from typing import Any

from sigreg_lab.check.plain import plain
from sigreg_lab.compare import figures, tables
from sigreg_lab.compare.protocol import lam_of
from sigreg_lab.compare.tables import Findings

TEMPLATE = "page.html.j2"


def render(found: Findings, about: dict[str, Any]) -> str:
    """The page as text.

    Args:
        found: what it tells.
        about: provenance, and when it was written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sigreg_lab.compare", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str else value,  # what is markup already stays so
    )
    environment.filters |= {"interval": tables.interval, "pvalue": tables.pvalue}
    protocol, form = found.settings.protocol, found.settings.base.form
    weights = [lam_of(weight, form) for weight in protocol.weights]
    names = [plan.name for plan in found.outcome.plans if not plan.control]
    shown = [line for line in found.lines if line.probes]
    return environment.get_template(TEMPLATE).render(
        title=f"{found.settings.data['name']}: {', '.join(names)}",
        data=found.settings.data["name"],
        day=about["written"][:10],
        about=tables.about(found),
        verdict=tables.verdict(found),
        notes=tables.notes(found),
        ranking=tables.RANKING,
        working=tables.WORKING,
        tuned=tables.tuned(found),
        shape=tables.SHAPE,
        lines=found.lines,
        sources=next((line.accuracy.over for line in found.lines if line.accuracy.over), ""),
        first=found.first,
        seeds=protocol.seeds,
        pictures=[p for p in (figures.accuracies(found), figures.differences(found)) if p],
        tuning=[(line, picture) for line in found.lines if (picture := figures.tuning(found, line))],
        curves=[(line, picture) for line in found.lines if (picture := figures.curves(found, line))],
        features=tables.FEATURES,
        probes={
            key: words for key, words in tables.PROBES.items() if any(f"backbone_{key}" in x.probes for x in shown)
        },
        probed=shown,
        broken=[line for line in found.lines if line.reasons],
        protocol=protocol,
        grid=f"{weights[0]:.2g} to {weights[-1]:.2g}",
        rungs=protocol.rungs(),
        settings=found.settings.base,
        commit=(about["git"]["commit"] or "unknown")[:12] + (" with changes" if about["git"]["dirty"] else ""),
        versions=about["versions"],
        hardware=about["hardware"],
        written=about["written"],
    )
