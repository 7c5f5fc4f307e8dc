"""The browser is found, or one is told how to get it; what the browser tests call blank and the same."""

from __future__ import annotations

from pathlib import Path

import chromium
import numpy as np
import pytest
from page import blank, same
from PIL import Image


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a browser."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def program(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_browser_is_found_by_name_or_where_one_says(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chromium.find() is None
    found = program(bare, "google-chrome")
    assert chromium.find() == found
    assert chromium.main() == 0
    other = program(bare, "mine")
    monkeypatch.setenv("CHROMIUM", other)
    assert chromium.find() == other
    monkeypatch.setenv("CHROMIUM", str(bare / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        chromium.find()


def test_without_the_means_to_install_one_the_command_is_told(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chromium.main() == 1
    assert "sudo apt-get install --yes --no-install-recommends chromium" in capsys.readouterr().err


def test_root_installs_debians_package(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare, "apt-get")
    called = []

    def install(command: list[str], **_: object) -> None:
        called.append(command)
        if "install" in command:
            program(bare, "chromium")

    monkeypatch.setattr(chromium.os, "geteuid", lambda: 0)
    monkeypatch.setattr(chromium.subprocess, "run", install)
    assert chromium.main() == 0
    assert called == [["apt-get", "update"], chromium.INSTALL.split()]


def test_blank_and_same_pictures_are_told_from_others() -> None:
    white = np.full((200, 300), 255, np.uint8)
    drawn, moved = white.copy(), white.copy()
    drawn[50:60, 20:200] = 0
    moved[120:130, 20:200] = 0
    assert blank(Image.fromarray(white))
    assert not blank(Image.fromarray(drawn))
    assert same(Image.fromarray(drawn), Image.fromarray(drawn))
    assert not same(Image.fromarray(drawn), Image.fromarray(moved))
