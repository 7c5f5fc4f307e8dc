"""A notebook open in JupyterLab in a browser: run it, press keys, click, look at its pictures."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lab import SCREENSHOTS, SECONDS
from PIL import Image, ImageFilter
from playwright.sync_api import ConsoleMessage, Error, Locator, Page

START, RUN, ANSWER = 120.0, 900.0, 90.0  # seconds that are waited for a kernel, for all cells, for a picture
# Messages of JupyterLab itself on the browser's console, and why each is no fault of a notebook.
IGNORED: dict[str, str] = {}
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => ({
    source: cell.model.sharedModel.source,
    count: cell.model.executionCount ?? null,
    outputs: cell.model.outputs ? cell.model.outputs.toJSON() : null}))"""
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.isReady && panel.context?.isReady
        && panel.sessionContext.session?.kernel?.status === 'idle'}"""
# a command's promise ends with its last cell; it is kept, because a dialog may have to be answered first
COMMAND = """name => {window.ended = null;
    jupyterapp.commands.execute(name)
        .then(() => window.ended = 'done', error => window.ended = String(error))}"""
VALUE = """element => element.type === 'checkbox' ? element.checked
    : element.getAttribute('aria-valuetext') ?? element.value"""
CUT_OFF = """labels => labels.filter(label => {
    const text = document.createRange();
    text.selectNodeContents(label);
    const [needs, has] = [text, label].map(part => part.getBoundingClientRect().width);
    return label.offsetParent && needs > has + 0.5;
}).map(label => label.textContent)"""
SCROLL = "index => jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')"
BYTES = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''))}"""


class NotebookPage:
    """One notebook in one tab of the browser.

    Args:
        page: a fresh tab.
        name: of the notebook; screenshots are called after it.
    """

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.complaints: list[str] = []  # of the browser's console
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._complain(f"uncaught: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complain(f"{message.text} ({message.location.get('url', '')})")

    def _complain(self, text: str) -> None:
        if not any(re.search(pattern, text) for pattern in IGNORED):
            self.complaints.append(text)

    def shot(self, what: str) -> Path:
        """A screenshot of the whole window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{self.name}-{what}.png"
        self.page.screenshot(path=path)
        return path

    def note(self, **seconds: float) -> None:
        """Adds what was measured to the file beside the screenshots."""
        known = json.loads(SECONDS.read_text()) if SECONDS.is_file() else {}
        known.setdefault(self.name, {}).update({name: round(value, 2) for name, value in seconds.items()})
        SECONDS.write_text(json.dumps(known, indent=1))

    def check(self, good: object, text: str) -> None:
        """An assertion that leaves a screenshot when it fails."""
        if not good:
            raise AssertionError(f"{self.name}: {text}; see {self.shot('failed')}")

    def wait(self, script: str, what: str, seconds: float) -> None:
        """Until a script says yes."""
        try:
            self.page.wait_for_function(script, timeout=1000 * seconds, polling=100)
        except Error as error:
            self.check(
                False, f"{what} did not happen within {seconds:.0f} s ({error.message.splitlines()[0]})"
            )

    def close(self) -> None:
        """Ends the kernel and closes the tab."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def open(self, url: str) -> None:
        """Goes to the notebook, until its kernel waits for work."""
        self.page.goto(url)
        self.wait(READY, "a kernel that is ready", START)

    def run_all(self, restart: bool = False) -> float:
        """Runs all cells, in a new kernel if asked; the seconds it took."""
        began = time.monotonic()
        self.page.evaluate(COMMAND, "notebook:restart-run-all" if restart else "notebook:run-all-cells")
        if restart:
            self.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        self.wait("() => window.ended !== null", "the end of all cells", RUN)
        self.wait(READY, "an idle kernel", START)
        return time.monotonic() - began

    def cells(self) -> list[dict[str, Any]]:
        """The code cells with their outputs, as the browser has them."""
        return [cell for cell in self.page.evaluate(CELLS) if cell["outputs"] is not None]

    def errors(self) -> list[str]:
        """The cells that failed or were not reached, and what the browser's console complains of."""
        found = list(self.complaints)
        for cell in self.cells():
            line = cell["source"].strip().partition("\n")[0]
            failed = [out for out in cell["outputs"] if out["output_type"] == "error"]
            found += [f"cell '{line}': {out['ename']}: {out['evalue']}" for out in failed]
            if line and cell["count"] is None:
                found.append(f"cell '{line}' did not run")
        return found

    def figures(self) -> list[list[Image.Image]]:
        """The static figures of each cell."""
        return [
            [
                _opened(out["data"]["image/png"])
                for out in cell["outputs"]
                if "image/png" in out.get("data", {})
            ]
            for cell in self.cells()
        ]

    def show(self, source: str) -> Locator:
        """Scrolls to the cell that has this in its source; its output area."""
        sources = [cell["source"] for cell in self.page.evaluate(CELLS)]
        places = [number for number, text in enumerate(sources) if source in text]
        self.check(len(places) == 1, f"{len(places)} cells with '{source}'")
        self.page.evaluate(SCROLL, places[0])
        area = self.page.locator(f'.jp-Cell[data-windowed-list-index="{places[0]}"] .jp-Cell-outputArea')
        area.wait_for(timeout=1000 * ANSWER)
        return area

    def picture(self, locator: Locator) -> Image.Image:
        """The pixels of an image or a canvas, once there are some."""
        locator.wait_for(timeout=1000 * ANSWER)
        if locator.evaluate("element => element.tagName") == "IMG":
            return _opened(locator.evaluate(BYTES))
        return Image.open(io.BytesIO(locator.screenshot())).convert("L")

    def until(self, reached: Callable[[], bool], what: str) -> float:
        """Waits until something holds; the seconds it took."""
        began = time.monotonic()
        while not reached():
            self.check(time.monotonic() - began < ANSWER, f"{what}, in {ANSWER:.0f} s")
            self.page.wait_for_timeout(50)
        return time.monotonic() - began

    def changed(self, picture: Locator, before: Image.Image, what: str) -> float:
        """Waits until a picture is another one; the seconds it took."""
        return self.until(
            lambda: self.picture(picture).tobytes() != before.tobytes(),
            f"{what} changes nothing in the picture",
        )

    def control(self, area: Locator, label: str) -> Locator:
        """A control by its label: what takes the keys."""
        named = f'.jupyter-widgets:has(> .widget-label:text-is("{label}"))'
        ticked = f'.widget-checkbox:has(span:text-is("{label}"))'
        return area.locator(f"{named}, {ticked}").locator("[role=slider], input, select").first

    def value(self, control: Locator) -> str:
        """What a control stands at."""
        return str(control.evaluate(VALUE))

    def settle(self) -> None:
        """Until the kernel has answered all that was asked of it."""
        self.wait(READY, "an idle kernel", ANSWER)

    def alerts(self, area: Locator) -> list[str]:
        """What a panel tells of its own mistakes."""
        return area.locator("[role=alert]").all_inner_texts()

    def point_at(self, canvas: Locator) -> None:
        """Moves the mouse to a point of a scatter: what differs most from the background, off the rim."""
        canvas.scroll_into_view_if_needed()
        grey = np.asarray(self.picture(canvas).filter(ImageFilter.BoxBlur(2)), dtype=float)
        height, width = grey.shape
        inner = np.abs(grey - np.median(grey))[height // 4 : -height // 4, width // 4 : -width // 4]
        row, column = np.unravel_index(inner.argmax(), inner.shape)
        box = canvas.bounding_box()
        x, y = box["x"] + width // 4 + int(column), box["y"] + height // 4 + int(row)
        self.page.mouse.move(x, y, steps=5)

    def cut_off(self, area: Locator) -> list[str]:
        """The labels and buttons of a panel that have less room than text."""
        return area.locator(".widget-label, .widget-label-basic, button.widget-button").evaluate_all(CUT_OFF)

    def reach(self, area: Locator, control: Locator, name: str) -> None:
        """Comes to a control with the tab key alone, from the first control of its panel."""
        area.locator("input, select, button, [tabindex='0']").first.focus()
        for _ in range(100):
            if control.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        self.check(False, f"the tab key does not reach the control '{name}'")


def _opened(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")


def blank(image: Image.Image) -> bool:
    """Whether there is next to nothing on a picture: under one pixel in a thousand is not background."""
    grey = np.asarray(image)
    return float((np.abs(grey - np.median(grey)) > 16).mean()) < 1e-3


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures show the same, also when they are cut or scaled a little differently."""
    small = [np.asarray(image.resize((64, 64)), dtype=float) for image in (one, other)]
    return one.size == other.size and float(np.abs(small[0] - small[1]).mean()) < 0.5
