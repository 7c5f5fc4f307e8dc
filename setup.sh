#!/usr/bin/env bash
# Makes .venv with a Python >= 3.11 and installs jepalib with the pinned versions. Called by make.
set -euo pipefail
cd "$(dirname "$0")"

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if new_enough "$name"; then echo "$name"; return; fi
  done
  echo "jepalib needs Python 3.11 or newer and found none (looked for: ${PYTHON:-python3, python3.13, python3.12, python3.11, python})." >&2
  echo "Install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv) or say which: make PYTHON=/path/to/python3.12 …" >&2
  exit 1
}

if ! new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$python cannot make virtual environments. On Debian or Ubuntu: sudo apt-get install python$version-venv" >&2
    exit 1
  fi
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
fi
echo "Installing jepalib and its pinned parts into .venv (some minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
  --constraint constraints.txt --editable '.[sim,workbook,dev]'
touch .venv/installed
