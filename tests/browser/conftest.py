"""One browser and one JupyterLab for all browser tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import chromium
import pytest
from lab import COPIES, HERE, SCREENSHOTS, SECONDS, Lab, make_earlier
from playwright.sync_api import BrowserContext, sync_playwright

DESKTOP = {"width": 1600, "height": 1000}
# Jupyter needs nothing from outside; WebGL is drawn by the processor, so that it works without a GPU.
OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="session")
def earlier() -> None:
    """The notebooks that others go on from; what an earlier session left to look at is gone."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SECONDS.unlink(missing_ok=True)
    make_earlier()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    COPIES.mkdir(parents=True, exist_ok=True)
    with Lab(COPIES) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    path = chromium.find()
    assert path, f"no Chromium on the PATH; Debian: sudo {chromium.INSTALL}"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            HERE / "chromium", executable_path=path, args=OPTIONS, viewport=DESKTOP
        )
        yield context
        context.close()
