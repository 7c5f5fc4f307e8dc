"""The report of a run: a front page with what was found and how, and a page per executed notebook.

The front page is complete in itself, figures and all; its links lead to the files beside it.
Nothing is loaded from anywhere, so that the folder opens from disk and can be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from jepalib.workbook import pages, provenance
from jepalib.workbook.notebook import write_json
from jepalib.workbook.reported import DONE, Reported, read_run


def write(run_dir: Path, profile: str, planned: Sequence[str] = ()) -> Path:
    """Writes `index.html` and a page per executed notebook; returns the index.

    What lies in the run folder is reported, whichever call made it.

    Args:
        run_dir: the folder of the run.
        profile: its name, for the title and the command that repeats it.
        planned: notebooks that were to run; those that did not are said to be missing.
    """
    templates = Environment(
        loader=PackageLoader("jepalib.workbook", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"duration": provenance.duration, "plain": provenance.text}
    stages = read_run(run_dir, planned)
    _write_pages(templates, run_dir, profile, [stage for stage in stages if stage.notebook])
    index = run_dir / "index.html"
    data = provenance.data_sets(stages, run_dir)
    index.write_text(
        templates.get_template("index.html").render(
            profile=profile,
            stages=stages,
            facts=provenance.facts(stages, data),
            remarks=provenance.remarks(stages, run_dir),
            commands=provenance.commands(stages, profile),
            settings=provenance.settings(stages, profile),
            data=data,
            inputs=provenance.inputs(stages, run_dir),
            versions=provenance.versions(stages),
            failures=[stage for stage in stages if stage.status != DONE],
        )
    )
    summary = {s.name: {"status": s.status, "seconds": s.seconds} for s in stages}
    write_json(run_dir / "summary.json", {"profile": profile, "notebooks": summary})
    return index


def _write_pages(templates: Environment, run_dir: Path, profile: str, stages: Sequence[Reported]) -> None:
    """The page of each notebook, with links to its neighbours."""
    page, colours = templates.get_template("notebook.html"), pages.code_colours()
    for before, stage, after in zip([None, *stages], stages, [*stages[1:], None], strict=False):
        body, sections = pages.body(stage.notebook)
        html = page.render(
            stage=stage,
            profile=profile,
            before=before,
            after=after,
            body=body,
            sections=sections,
            code_css=colours,
        )
        (run_dir / f"{stage.name}.html").write_text(html)
