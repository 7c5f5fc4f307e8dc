"""Each notebook with a widget, in JupyterLab in Chromium: it runs, and shows what one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab import Lab, working_copy
from page import NotebookPage, blank, same
from playwright.sync_api import BrowserContext, Locator

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Widget:
    """A notebook, the cell of its widget, and what must change when something is done there.

    Attributes:
        notebook: its name.
        cell: text that only the source of the widget's cell has.
        controls: the labels of those that are moved, in this order, and the keys that move them.
        picture: CSS of what must look different then, in the output of the cell.
        scatter: CSS of a scatter on which a point is clicked; empty where there is none.
    """

    notebook: str
    cell: str
    controls: dict[str, str]
    picture: str = ".widget-image"
    scatter: str = ""


RIGHT, END, UP, TICK = "ArrowRight", "End", "ArrowUp", "Space"
DROPPED, GIVEN = "dropped at random, %", "all identification (pid)"
CHOOSE = "Space ArrowDown Enter"  # while a list is closed JupyterLab takes its arrow keys
WIDGETS = [
    Widget("02_masks", "widgets.MaskInspector(", {"jet": RIGHT, "targets M": RIGHT, "method": CHOOSE}),
    Widget("03_pretrain", "TrainingMonitor(", {}),  # has one run and no more to say of it
    Widget("05_hep_jepa", "MaskInspector(jets", {"jet": RIGHT, "masks over the patches": TICK}),
    Widget("08_representation", "EmbeddingExplorer(", {"jet (row of table)": UP}, scatter="canvas"),
    Widget("09_robustness", "RobustnessPlayground(first", {"jet": RIGHT, DROPPED: END, GIVEN: TICK}),
    Widget("11_jet_displays", "AttentionViewer(tagger", {"jet": RIGHT, "block": CHOOSE, "head": CHOOSE}),
]


@pytest.fixture(scope="module", params=WIDGETS, ids=lambda widget: widget.notebook)
def opened(
    request: pytest.FixtureRequest, earlier: None, lab: Lab, browser: BrowserContext
) -> Iterator[tuple[Widget, NotebookPage]]:
    """A notebook open in the browser, all its cells run."""
    widget = request.param
    copy = working_copy(widget.notebook)
    page = NotebookPage(browser.new_page(), widget.notebook)
    page.open(lab.url(copy.name))
    page.note(run=page.run_all())
    yield widget, page
    page.close()


def test_all_cells_run_and_nothing_complains(opened: tuple[Widget, NotebookPage]) -> None:
    _, page = opened
    page.check(not (found := page.errors()), f"errors: {found}")


def test_no_figure_is_blank_or_shown_twice(opened: tuple[Widget, NotebookPage]) -> None:
    _, page = opened
    figures = page.figures()
    page.check(sum(map(len, figures)) > 0, "no figures")
    for number, shown in enumerate(figures, 1):
        page.check(not any(map(blank, shown)), f"a blank figure in code cell {number}")
        twice = any(same(one, other) for k, one in enumerate(shown) for other in shown[:k])
        page.check(not twice, f"the same figure twice in code cell {number}")


def test_a_control_is_reached_by_keyboard_and_redraws(opened: tuple[Widget, NotebookPage]) -> None:
    widget, page = opened
    move(widget, page, "moved")


def move(widget: Widget, page: NotebookPage, what: str) -> None:
    """Goes to each control with the tab key, moves it, and sees the picture change."""
    area = page.show(widget.cell)
    picture = area.locator(widget.picture)
    page.check(not blank(page.picture(picture)), "the widget's picture is blank")
    picture.scroll_into_view_if_needed()
    page.shot(f"{what}-0")
    for number, (label, keys) in enumerate(widget.controls.items(), 1):
        control = page.control(area, label)
        before, value = page.picture(picture), page.value(control)
        page.reach(area, control, label)
        for key in keys.split():
            page.page.keyboard.press(key)
        page.note(**{f"{what} {label}": page.changed(picture, before, f"'{label}'")})
        page.settle()
        page.shot(f"{what}-{number}")
        page.check(page.value(control) != value, f"'{label}' still says {value}")
        sound(widget, page, area)


def sound(widget: Widget, page: NotebookPage, area: Locator) -> None:
    """One picture, with something on it, and no complaint anywhere."""
    pictures = area.locator(widget.picture)
    page.check(pictures.count() == 1, f"{pictures.count()} pictures, not one")
    page.check(not blank(page.picture(pictures)), "the widget's picture is blank")
    page.check(not (told := page.alerts(area)), f"the widget says: {told}")
    page.check(not (found := page.errors()), f"errors: {found}")


def test_every_control_has_a_label_that_can_be_read(opened: tuple[Widget, NotebookPage]) -> None:
    widget, page = opened
    cut = page.cut_off(page.show(widget.cell))
    page.check(not cut, f"labels cut off: {cut}")


def test_a_click_on_a_point_shows_its_jet(opened: tuple[Widget, NotebookPage]) -> None:
    widget, page = opened
    if not widget.scatter:
        pytest.skip("no scatter in this notebook")
    area = page.show(widget.cell)
    picture, control = area.locator(widget.picture), page.control(area, next(iter(widget.controls)))
    before, value = page.picture(picture), page.value(control)
    page.point_at(area.locator(widget.scatter).first)
    page.note(hovered=page.changed(picture, before, "the mouse over a point"))
    page.page.mouse.down()
    page.page.mouse.up()
    page.note(clicked=page.until(lambda: page.value(control) != value, f"a click leaves row {value}"))
    page.settle()
    page.shot("clicked")
    sound(widget, page, area)


def test_nothing_is_lost_when_the_kernel_restarts(opened: tuple[Widget, NotebookPage]) -> None:
    widget, page = opened
    if widget is not WIDGETS[0]:
        pytest.skip("once is enough: all widgets take the same way to the kernel")
    page.note(restart=page.run_all(restart=True))
    page.check(not (found := page.errors()), f"errors after the restart: {found}")
    move(widget, page, "restarted")
