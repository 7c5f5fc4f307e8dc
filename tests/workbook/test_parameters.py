"""The parameters cell: what may stand in it, and what texts mean."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jepalib.errors import JepalibError
from jepalib.workbook.parameters import Parameter, read_parameters, resolve, split_settings
from jepalib.workbook.profiles import PROFILES, profile_values


def notebook(source: str, cells: int = 1):
    cell = {"tags": ["parameters"]}
    return new_notebook(cells=[new_code_cell(source, metadata=cell) for _ in range(cells)])


def test_reads_names_types_and_defaults() -> None:
    source = 'a: int = 3  # how many\nb: str = ""\nc: list[float] = [0.5, 1]\nd: bool = False\ne: float = 1'
    found = read_parameters(notebook(source), "x")
    assert {name: (p.kind, p.default) for name, p in found.items()} == {
        "a": ("int", 3),
        "b": ("str", ""),
        "c": ("list[float]", [0.5, 1]),
        "d": ("bool", False),
        "e": ("float", 1),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a = 3", "name: type = literal"),
        ("a: int = 2 + len('x')", "literal"),
        ("a: dict = {}", "not one of"),
        ("a: int = 'x'", "not of type int"),
        ("import os", "name: type = literal"),
        ("a: int", "not of type int"),
    ],
)
def test_refuses_what_is_no_typed_literal(source: str, message: str) -> None:
    with pytest.raises(JepalibError, match=message):
        read_parameters(notebook(source), "x.ipynb")


def test_refuses_two_parameter_cells() -> None:
    with pytest.raises(JepalibError, match="keep one"):
        read_parameters(notebook("a: int = 1", cells=2), "x")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "12", 12),
        ("float", "1e-3", 1e-3),
        ("str", "a,b", "a,b"),
        ("bool", "True", True),
        ("bool", "no", False),
        ("list[int]", "[500, 2000]", [500, 2000]),
        ("list[str]", "frozen,linear", ["frozen", "linear"]),
    ],
)
def test_texts_become_values(kind: str, text: str, value: object) -> None:
    parsed = Parameter("p", kind, None).parse(text)
    assert parsed == value
    assert Parameter("p", kind, None).accepts(parsed)


def test_a_bool_is_no_number() -> None:
    assert not Parameter("p", "int", 0).accepts(True)
    assert not Parameter("p", "float", 0.0).accepts(True)


def test_each_notebook_gets_its_own_and_the_hand_wins() -> None:
    first = {"seed": Parameter("seed", "int", 0), "only": Parameter("only", "str", "")}
    second = {"seed": Parameter("seed", "int", 0)}
    values = resolve({"one": first, "two": second}, {"seed": 3, "else": 1}, {"only": "x"})
    assert values == {"one": {"seed": 3, "only": "x"}, "two": {"seed": 3}}
    assert resolve({"two": second}, {"seed": 3}, {"seed": "4"}) == {"two": {"seed": 4}}


def test_a_setting_may_hold_an_equals_sign() -> None:
    assert split_settings(["a=b=c"]) == {"a": "b=c"}


def test_profiles_shrink() -> None:
    paper, laptop, smoke = (profile_values(name) for name in ("paper", "laptop", "smoke"))
    assert list(PROFILES) == ["smoke", "laptop", "paper"]
    for name in ("pretrain_steps", "batch_size", "adapt_steps", "explore_jets", "test_jets", "seeds"):
        assert smoke[name] <= laptop[name] <= paper[name], name
    assert 20_000 <= 10 * laptop["train_jets_per_class"] <= 30_000
    assert laptop["seeds"] >= 3
    with pytest.raises(JepalibError, match="no profile"):
        profile_values("tiny")
