"""The parameters cell of a notebook: names, types, and values from the command line.

papermill only warns of an unknown parameter and takes any type; here both are refused
before anything starts.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from jepalib.errors import JepalibError

SCALARS = {"bool": bool, "int": int, "float": float, "str": str}
KINDS = (*SCALARS, "list[int]", "list[float]", "list[str]")
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: kind = default``."""

    name: str
    kind: str
    default: Any

    def accepts(self, value: object) -> bool:
        """Whether the value is of this parameter's kind (an int will do for a float)."""
        if self.kind.startswith("list["):
            element = Parameter(self.name, self.kind[5:-1], None)
            return isinstance(value, list) and all(element.accepts(v) for v in value)
        if self.kind == "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        return type(value) is SCALARS[self.kind]

    def parse(self, text: str) -> Any:
        """The value that a text from the command line stands for; ValueError where it stands for none."""
        if self.kind.startswith("list["):
            element = Parameter(self.name, self.kind[5:-1], None)
            return [element.parse(part.strip()) for part in text.strip("[]").split(",") if part.strip()]
        if self.kind == "bool":
            if text.lower() not in TRUE + FALSE:
                raise ValueError(text)
            return text.lower() in TRUE
        return SCALARS[self.kind](text)


def read_parameters(notebook: NotebookNode, name: str) -> dict[str, Parameter]:
    """The parameters of a notebook by name, from its cell tagged ``parameters``.

    Raises:
        JepalibError: the cell holds anything but typed literals, or there are two such cells.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    if not cells:
        return {}
    if len(cells) > 1:
        raise JepalibError(f"{name}: {len(cells)} cells are tagged 'parameters'; keep one")
    found = {}
    for statement in ast.parse(cells[0].source).body:
        parameter = _parameter(statement, name)
        found[parameter.name] = parameter
    return found


def _parameter(statement: ast.stmt, notebook: str) -> Parameter:
    line = ast.unparse(statement)
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
        raise JepalibError(
            f"{notebook}: the parameters cell may only hold 'name: type = literal', not: {line}"
        )
    kind = ast.unparse(statement.annotation)
    if kind not in KINDS:
        raise JepalibError(f"{notebook}: parameter type {kind} is not one of {', '.join(KINDS)}: {line}")
    try:
        default = ast.literal_eval(statement.value) if statement.value is not None else None
    except ValueError:
        raise JepalibError(f"{notebook}: a parameter must be a literal, not computed: {line}") from None
    parameter = Parameter(statement.target.id, kind, default)
    if not parameter.accepts(default):
        raise JepalibError(f"{notebook}: the value is not of type {kind}: {line}")
    return parameter


def split_settings(settings: list[str]) -> dict[str, str]:
    """``["seed=1", …]`` as a mapping of names to texts."""
    pairs = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise JepalibError(f"'{setting}' is not of the form name=value")
        pairs[name.strip()] = text.strip()
    return pairs


def resolve(
    notebooks: Mapping[str, Mapping[str, Parameter]],
    profile: Mapping[str, Any],
    settings: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Values for every notebook: those of the profile, then those set by hand.

    Each notebook receives what it has a parameter for. A name set by hand that no
    notebook knows, or a value of the wrong type, is refused.
    """
    known = {name for parameters in notebooks.values() for name in parameters}
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
            raise JepalibError(f"no parameter '{name}' in {', '.join(notebooks)}; {hint}")
    return {
        notebook: _values(notebook, parameters, profile, settings)
        for notebook, parameters in notebooks.items()
    }


def _values(
    notebook: str,
    parameters: Mapping[str, Parameter],
    profile: Mapping[str, Any],
    settings: Mapping[str, str],
) -> dict[str, Any]:
    values = {}
    for name, parameter in parameters.items():
        value = profile.get(name, parameter.default)
        if name in settings:
            try:
                value = parameter.parse(settings[name])
            except ValueError:
                raise JepalibError(
                    f"{name}={settings[name]}: {notebook} takes {parameter.kind} here, "
                    f"for example {name}={_example(parameter.default)}"
                ) from None
        elif not parameter.accepts(value):
            raise JepalibError(
                f"{notebook}: the profile gives {name}={value!r}, the cell wants {parameter.kind}"
            )
        values[name] = value
    return values


def _example(default: Any) -> str:
    return ",".join(str(v) for v in default) if isinstance(default, list) else str(default)


def notebook_paths(folder: Path, names: list[str]) -> list[Path]:
    """The notebooks asked for (by name, number or path) in number order; all without names.

    Raises:
        JepalibError: the folder has no notebooks, or one that is asked for is not there.
    """
    stored = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        if not stored:
            raise JepalibError(f"no notebooks in {folder}; run this in a checkout of jepalib, or name a file")
        return stored
    chosen = set()
    for name in names:
        if name.endswith(".ipynb") and Path(name).is_file():
            chosen.add(Path(name).resolve())
            continue
        matches = [p for p in stored if p.stem == name or p.stem.split("_")[0] == name]
        if not matches:
            there = ", ".join(p.stem for p in stored) or "none"
            raise JepalibError(f"no notebook '{name}'; there are: {there}")
        chosen.update(matches)
    return sorted(chosen, key=lambda p: p.stem)
