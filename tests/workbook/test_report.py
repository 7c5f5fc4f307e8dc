"""The report: complete in itself, honest about what failed or is older, readable by everyone."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from jepalib.workbook import report
from jepalib.workbook.notebook import fingerprint
from jepalib.workbook.reported import column_texts

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = 'run_dir: str = "runs/smoke"\nseed: int = 0\nlabels: list[int] = [500, 2000]\ndata_dir: str = ""'
HOSTILE = "a < b & 'c' <script>alert(1)</script>"


class Page(HTMLParser):
    """What a page holds: tags with their attributes, ids, headings, text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.folder, self.tags, self.headings, self.texts = path.parent, [], [], []
        self.source = path.read_text()
        self.feed(self.source)
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def png(width: float = 2.0) -> bytes:
    figure, buffer = Figure(figsize=(width, 1), dpi=220), io.BytesIO()
    figure.subplots().plot([0, 1], [1, 0])
    figure.savefig(buffer, format="png", dpi=220)
    return buffer.getvalue()


PNG = png()


def add_stage(run: Path, name: str, manifest: dict[str, Any] | None = None, **result: Any) -> None:
    """One executed notebook with two figures and a table; `manifest` changes what the runner wrote."""
    folder = run / name
    (folder / "figures").mkdir(parents=True)
    figures = []
    for figure in ("first", "second"):
        (folder / "figures" / f"{figure}.png").write_bytes(PNG)
        (folder / "figures" / f"{figure}.pdf").write_bytes(b"%PDF")
        figures.append(
            {"file": f"{name}/figures/{figure}.png", "caption": f"The {figure} of {name}: {HOSTILE}"}
        )
    pd.DataFrame({"class": ["QCD", "<b>"], "mean": [0.5, 1234.5]}).to_csv(folder / "means.csv", index=False)
    tables = [{"file": f"{name}/means.csv", "caption": f"Means of {name}."}]
    findings = [f"{name} found {n}" for n in range(5)]
    record = {"findings": findings, "figures": figures, "tables": tables, "key": "k", "paths": {}} | result
    (folder / "result.json").write_text(json.dumps(record))
    written = {
        "status": "done",
        "key": "k",
        "parameters": {"run_dir": str(run), "seed": 0, "labels": [500, 2000], "data_dir": ""},
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 90.0,
        "failure": None,
        "environment": {"git": "abc123", "jepalib": "0.1.0", "machine": "Linux x86_64, 2 cores"},
    } | (manifest or {})
    (folder / "manifest.json").write_text(json.dumps(written))
    nbformat.write(executed(name), run / f"{name}.ipynb")


def executed(name: str) -> nbformat.NotebookNode:
    shown = {"image/png": base64.b64encode(PNG).decode(), "text/plain": "<Figure>"}
    caption = {"image/png": {"alt": HOSTILE, "caption": HOSTILE}}
    outputs = [
        new_output("stream", name="stderr", text="epoch 1\nepoch 2\n"),
        new_output("stream", name="stdout", text="said aloud"),
        new_output("display_data", shown, metadata=caption),
        new_output("display_data", shown),
        new_output("display_data", {"text/html": "<table><tr><td>cell</td></tr></table>"}),
    ]
    cells = [
        new_markdown_cell(f"# Title of {name}\n\nA question with *stress*?"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_markdown_cell("## Of masks & jets\n\nText."),
        new_code_cell("first_line = 1\nsecond_line = 2", outputs=outputs),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three notebooks, all done."""
    folder = tmp_path / "smoke"
    for name in ("01_first", "02_second", "03_third"):
        add_stage(folder, name)
    return folder


def written(run: Path, planned: tuple[str, ...] = ()) -> Page:
    return Page(report.write(run, "smoke", planned))


def test_every_link_leads_to_something_that_is_there(run: Path) -> None:
    written(run)
    for path in sorted(run.glob("*.html")):
        page = Page(path)
        links = [a["href"] for a in page.all("a") if a.get("href")]
        assert len(links) > 3
        for link in links:
            file, _, anchor = unquote(link).partition("#")
            target = run / file if file else path
            assert target.is_file(), link
            if anchor:
                assert anchor in Page(target).ids, link


def test_nothing_is_loaded_from_anywhere(run: Path) -> None:
    written(run)
    for path in sorted(run.glob("*.html")):
        page = Page(path)
        loaded = [a[k] for _, a in page.tags for k in ("src", "srcset", "data", "poster") if a.get(k)]
        loaded += [a["href"] for a in page.all("link")]
        assert loaded
        assert all(address.startswith("data:") for address in loaded)
        assert not re.search(r"@import|url\(|https?://", page.source)
        assert "alert(1)" not in "".join(re.findall(r"<script.*?</script>", page.source, re.S))


def test_ids_headings_and_alternative_texts(run: Path) -> None:
    written(run)
    for path in sorted(run.glob("*.html")):
        page = Page(path)
        assert len(page.ids) == len(set(page.ids))
        assert page.headings.count(1) == 1
        assert page.headings[0] == 1
        assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
        pictures = [a for a in page.all("img") if a.get("src")]
        assert pictures
        assert all(a["alt"].strip() and int(a["width"]) > 0 for a in pictures)
    front = Page(run / "index.html")
    assert {a["alt"] for a in front.all("img") if a.get("src")} >= {f"The first of 01_first: {HOSTILE}"}


def test_pictures_are_the_figures_pixel_by_pixel(run: Path) -> None:
    page = written(run)
    (image,) = {a["src"] for a in page.all("img") if a.get("src")}  # all are the same picture
    shown = Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2])))
    saved = Image.open(io.BytesIO(PNG))
    assert np.array_equal(np.asarray(shown.convert("RGBA")), np.asarray(saved.convert("RGBA")))
    assert page.all("img")[0]["width"] == "242"  # two inches


def test_front_has_headlines_main_figures_and_the_rest_folded(run: Path) -> None:
    add_stage(
        run,
        "04_marked",
        headlines=["04_marked found 3"],
        figures=[
            {"file": "04_marked/figures/first.png", "caption": "One."},
            {"file": "04_marked/figures/second.png", "caption": "Two.", "main": True},
        ],
    )
    page = written(run)
    found, figures, rest = (
        page.source.split(f'<section id="{s}">')[1] for s in ("found", "figures", "notebooks")
    )
    assert re.findall(r"<li>(01_first found \d)", found.split("<details>")[0]) == [
        "01_first found 0",
        "01_first found 1",
    ]
    marked = found.split("Title of 04_marked")[1]
    assert re.findall(r"<li>(04_marked found \d)", marked.split("<details>")[0]) == ["04_marked found 3"]
    assert set(re.findall(r"04_marked found \d", marked)) == {f"04_marked found {n}" for n in range(5)}
    assert re.findall(r'<figure id="([^"]+)">', figures.split("</section>")[0]) == [
        "01_first-first",
        "02_second-first",
        "03_third-first",
        "04_marked-second",
    ]
    assert 'id="04_marked-first"' in rest
    assert page.source.count("data:image/webp") == 8  # each once


def test_failed_unfinished_and_missing_notebooks_are_said_first(run: Path) -> None:
    failure = {"reason": "ValueError: <b>why</b>", "cell": "cell 4 (Masks)", "traceback": "line 7 <x>"}
    add_stage(run, "04_broken", {"status": "failed", "failure": failure})
    add_stage(run, "05_left")
    add_stage(run, "06_cut")
    (run / "06_cut" / "manifest.json").unlink()
    page = written(run, ("04_broken", "07_never"))
    head = page.source.split("<main>")[0]
    assert "04_broken failed in cell 4 (Masks)" in " ".join(head.split())
    assert "ValueError: &lt;b&gt;why&lt;/b&gt;" in head
    assert "line 7 &lt;x&gt;" in head
    assert 'href="04_broken.html"' in head
    assert "06_cut did not end." in head
    assert "07_never did not run." in head
    assert "Of an earlier run: 05_left." in head
    assert "4 of 7 notebooks done" in head
    summary = json.loads((run / "summary.json").read_text())["notebooks"]
    assert [summary[n]["status"] for n in ("04_broken", "06_cut", "07_never")] == [
        "failed",
        "unfinished",
        "not run",
    ]
    manifest = json.loads((run / "05_left" / "manifest.json").read_text())
    since = {**manifest, "started": "2100-01-01T00:00:00+00:00"}
    (run / "05_left" / "manifest.json").write_text(json.dumps(since))
    assert "earlier run" not in written(run, ("04_broken",)).source.split("<main>")[0]


def test_what_does_not_agree_is_remarked(run: Path) -> None:
    data = run / "data.txt"
    data.write_text("as it was")
    add_stage(run, "04_reader", paths={str(data): fingerprint(data)})
    add_stage(run, "05_other", {"environment": {"git": "def456-dirty"}})
    add_stage(run, "06_by_hand", key=None)
    data.write_text("as it is")
    text = written(run).text
    assert "data.txt has changed since 04 read it." in text
    assert "More than one git revision: abc123 (01 02 03 04 06); def456-dirty (05)." in text
    assert "Run with changes that are in no revision: 05." in text
    assert "Run by hand since its page was made, so that they may differ: 06_by_hand." in text


def test_a_run_without_quarrels_has_no_remarks(run: Path) -> None:
    page = written(run)
    assert 'class="remarks"' not in page.source
    assert 'class="alert"' not in page.source


def test_provenance_tells_command_settings_jets_and_versions(run: Path) -> None:
    store = run / "data" / "simulated-7" / "store"
    store.mkdir(parents=True)
    manifest = {
        "format": "jepalib store",
        "splits": {"test": [0, 5], "train": [5, 2005]},
        "classes": ["a", "b"],
    }
    (store / "manifest.json").write_text(json.dumps(manifest | {"data_hash": "feed" * 16, "dataset": "top"}))
    given = {"run_dir": str(run), "seed": 7, "labels": [10, 20], "data_dir": "my data"}
    add_stage(run, "04_given", {"parameters": given}, paths={str(store): fingerprint(store)})
    page = written(run)
    for text in (
        "jepalib run 01 --profile smoke -p labels=500,2000",
        "jepalib run 04 --profile smoke -p seed=7 -p labels=10,20 -p 'data_dir=my data'",
        "2,000 train, 5 test (simulated top, 2 classes)",
        "data/simulated-7/store",
        "feedfeedfeedfeed",
        fingerprint(store),
        "2026-01-02 03:04 to 03:05 UTC",
        "6.0 min",
        "seed 7 04 not the profile's",
        "labels 500, 2000 01 02 03 not the profile's; paper: 500, 2000, 10000, 100000, 1000000",
        "git abc123 all",
        "machine Linux x86_64, 2 cores all",
    ):
        assert text in page.text, text
    assert str(run) not in page.source  # nothing of the place where it was made


def test_one_command_where_settings_agree(run: Path) -> None:
    assert "jepalib run 01 02 03 --profile smoke -p labels=500,2000" in written(run).text


def test_a_moved_run_folder_is_read_where_it_is(run: Path, tmp_path: Path) -> None:
    data = run / "data.txt"
    data.write_text("a")
    add_stage(run, "04_reader", paths={str(data): fingerprint(data)})
    moved = run.rename(tmp_path / "moved")
    page = written(moved)
    assert "has changed since" not in page.text
    (moved / "data.txt").write_text("b")
    assert "data.txt has changed since" in written(moved).text


def test_a_run_without_notebooks_has_a_page(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "0 of 0 notebooks done" in page.text
    assert "Nothing yet." in page.text


def test_what_is_gone_or_older_does_not_stop_the_report(run: Path) -> None:
    (run / "01_first" / "figures" / "first.png").unlink()
    (run / "01_first" / "figures" / "second.png").write_bytes(b"no picture")
    (run / "01_first" / "means.csv").write_text("")
    (run / "02_second" / "result.json").write_text('{"findings": ["brok')
    (run / "03_third" / "result.json").write_text('{"findings": ["Only this."]}')
    (run / "03_third" / "manifest.json").write_text('{"status": "done"}')
    page = written(run)
    assert "01_first/figures/first.png is gone or unreadable." in page.text
    assert "01_first/figures/second.png is gone or unreadable." in page.text
    assert "01_first/means.csv is gone or empty." in page.text
    assert "Only this." in page.text
    assert "3 of 3 notebooks done" in page.text


def test_a_notebook_page_folds_code_and_log_and_leads_on(run: Path) -> None:
    written(run)
    page = Page(run / "02_second.html")
    assert [a["href"] for a in page.all("a") if a.get("rel") == "prev"] == ["01_first.html"] * 2
    assert [a["href"] for a in page.all("a") if a.get("rel") == "next"] == ["03_third.html"] * 2
    assert 'rel="prev"' not in (run / "01_first.html").read_text()
    assert '<a href="#Of-masks-&amp;-jets">Of masks &amp; jets</a>' in page.source
    assert re.search(r"<details class=\"code\"><summary><code>first_line = 1</code>", page.source)
    assert "log, 2 lines" in page.text
    assert "said aloud" in page.text
    assert [a["alt"] for a in page.all("img")] == [HOSTILE, "Figure of the section “Of masks & jets”"]
    assert "500, 2000" in page.text
    assert all("data-mime" not in a for _, a in page.tags)


def colour(value: str) -> float:
    """Relative luminance of a hex colour (WCAG 2)."""
    parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(run: Path, scheme: str) -> None:
    source = written(run).source
    assert "@media (prefers-color-scheme: dark)" in source
    assert "@media print" in source
    block = re.search(rf"color-scheme: {scheme};((?:\s*--[a-z]+: #[0-9a-f]{{6}};)+)", source)
    values = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block[1]))
    pairs = [(ink, ground) for ink in ("ink", "soft", "link", "good", "bad") for ground in ("paper", "panel")]
    pairs += [("ink", "care"), ("ink", "wrong"), ("bad", "wrong"), ("link", "wrong"), ("link", "care")]
    for ink, ground in pairs:
        low, high = sorted([colour(values[ink]), colour(values[ground])])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_numbers_of_a_column_are_written_alike() -> None:
    assert column_texts(pd.Series([0.50173, 0.6, np.nan, -0.4])) == ["0.502", "0.600", "–", "−0.400"]
    assert column_texts(pd.Series([0.0191, 0.00189])) == ["0.0191", "0.0019"]
    assert column_texts(pd.Series([0.05, 0.5, 100.0])) == ["0.05", "0.5", "100"]  # too far apart for that
    assert column_texts(pd.Series([1234567.0, 5.0, np.nan])) == ["1,234,567", "5", "–"]
    assert column_texts(pd.Series([0.0, np.inf, 2.5])) == ["0.00", "∞", "2.50"]
    assert column_texts(pd.Series([-1e-17, 0.25])) == ["0.000", "0.250"]
    assert column_texts(pd.Series([True, False])) == ["True", "False"]
    assert column_texts(pd.Series(["a", None])) == ["a", "–"]


def test_notebooks_write_their_formulas_as_text() -> None:
    """The pages load nothing, MathJax included: TeX would be shown as it is written."""
    texts = sorted((ROOT / "notebooks" / "text").glob("*.py"))
    assert len(texts) >= 8
    for path in texts:
        prose = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert not [line for line in prose if re.search(r"\$[^$\s][^$]*\$", line)], path.name
