"""Finds Chromium; run as a program, installs Debian's package where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "apt-get install --yes --no-install-recommends chromium"


def find() -> str | None:
    """The path of the browser: what CHROMIUM names, else the first of `NAMES` on the PATH.

    Raises:
        FileNotFoundError: CHROMIUM names something that is not there.
    """
    named = os.environ.get("CHROMIUM")
    if not named:
        return next((path for path in map(shutil.which, NAMES) if path), None)
    if not (path := shutil.which(named)):
        raise FileNotFoundError(f"CHROMIUM={named}: no such program")
    return path


def main() -> int:
    """Leaves the machine with a browser, or says how to get one."""
    if find():
        return 0
    if os.geteuid() or not shutil.which("apt-get"):
        print(
            f"The browser tests need Chromium and found none (looked for {', '.join(NAMES)} on the PATH).\n"
            f"Debian: sudo {INSTALL}\nElsewhere say where one is: make test-browser CHROMIUM=/path/to/chrome",
            file=sys.stderr,
        )
        return 1
    subprocess.run(["apt-get", "update"], check=True)
    subprocess.run(INSTALL.split(), check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    return 0 if find() else 1


if __name__ == "__main__":
    sys.exit(main())
