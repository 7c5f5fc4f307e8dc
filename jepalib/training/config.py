"""Configurations: frozen dataclasses, built from text with unknown keys refused."""

from __future__ import annotations

import ast
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from jepalib.errors import JepalibError
from jepalib.methods.registry import find_method
from jepalib.schema import DATASET_CLASSES

T = TypeVar("T")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training, complete.

    Attributes:
        method, size, inputs: objective, architecture preset, input set.
        objective: the method's own configuration (its default if None).
        steps, batch_size: optimiser steps of so many jets (over all processes).
        lr, lr_start, lr_final: peak, first and last learning rate; linear warm-up over
            the share `warmup` of all jets, then a cosine, both in jets seen.
        weight_decay: for the encoder, predictor_weight_decay for all the rest; none on
            tokens, biases and normalisations.
        clip: largest norm of the gradient, 0 for no clipping.
        precision: float32, or bfloat16 for autocast.
        micro_batch: jets that go through the networks together (at least 512 on a GPU).
        max_jets: use only so many (stratified) training jets, 0 for all.
        log_every, checkpoint_every: steps between metrics lines and checkpoints.
        checkpoint_minutes: a checkpoint is also written after so long, for job queues.
        snapshots: numbers of jets seen after which the networks are also kept for good, as
            a run folder of their own, RUN/snapshots/NUMBER.
        classes: use only training jets of these classes (`max_jets` of them); empty for all.
    """

    method: str = "jp-jepa"
    size: str = "mini"
    inputs: str = "full"
    objective: Any = None
    steps: int = 500_000
    batch_size: int = 2048
    lr: float = 1e-3
    lr_start: float = 1e-6
    lr_final: float = 1e-6
    warmup: float = 0.05
    weight_decay: float = 0.01
    predictor_weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    precision: str = "float32"
    micro_batch: int = 32
    max_jets: int = 0
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    checkpoint_minutes: float = 10.0
    snapshots: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        method = find_method(self.method)
        if self.objective is None:
            object.__setattr__(self, "objective", method.config())
        _ = method.architecture(self.size, self.inputs, self.objective)  # refuses unknown sizes and inputs
        if self.precision not in PRECISIONS:
            raise JepalibError(f"precision '{self.precision}' is not one of {', '.join(PRECISIONS)}")
        for name in ("steps", "batch_size", "micro_batch", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise JepalibError(f"{name} = {getattr(self, name)}: give a whole number of at least 1")
        if self.batch_size < 2:
            raise JepalibError(
                "batch_size = 1: regularisers and normalisations compare jets, give at least 2"
            )
        not_negative = ("lr_start", "lr_final", "weight_decay", "predictor_weight_decay", "clip", "max_jets")
        check_ranges(self, not_negative=(*not_negative, "seed"), positive=("lr", "checkpoint_minutes"))
        if any(jets < 1 for jets in self.snapshots):
            raise JepalibError(f"snapshots = {self.snapshots}: give numbers of jets, at least 1")
        check_classes(self.classes, {name for names in DATASET_CLASSES.values() for name in names})
        if not 0 <= self.warmup < 1:
            raise JepalibError(f"warmup = {self.warmup} is a share of the run, at least 0 and below 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise JepalibError(f"betas = {self.betas}: both at least 0 and below 1")


def check_classes(classes: Iterable[str], known: Iterable[str]) -> None:
    """Names of classes, each of which is known.

    Raises:
        JepalibError: one is not; the message names it and the nearest.
    """
    known = sorted(known)
    if unknown := [name for name in classes if name not in known]:
        raise JepalibError(
            f"classes: unknown {_names(unknown)}{_suggest(unknown[0], known)}; there are {', '.join(known)}"
        )


def check_ranges(config: object, not_negative: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """Settings by name that must be at least 0, or above 0.

    Raises:
        JepalibError: one is not; the message names it.
    """
    for name in (*not_negative, *positive):
        value = getattr(config, name)
        if not (value > 0 or (name in not_negative and value == 0)):
            needed = "above 0" if name in positive else "at least 0"
            raise JepalibError(f"{name} = {value}: give a number {needed}")


def config_from_dict(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """A (nested) config from plain JSON values.

    Raises:
        JepalibError: an unknown or missing key, named with `source`.
    """
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise JepalibError(f"{source}: unknown setting {_names(unknown)}{_suggest(unknown[0], known)}")
    if missing := [name for name in known if name not in values]:
        raise JepalibError(
            f"{source}: no {_names(missing)}; written by another version of jepalib? Add it, or run again"
        )
    hints = typing.get_type_hints(cls)
    if cls is PretrainConfig:
        hints["objective"] = find_method(values.get("method", known["method"].default)).config
    built = {}
    for name, value in values.items():
        kind = hints[name]
        built[name] = (
            config_from_dict(kind, value, source) if is_dataclass(kind) else _as(kind, value, name, source)
        )
    return cls(**built)


def override(config: T, settings: Mapping[str, object]) -> T:
    """The config with some settings replaced, by name or dotted name.

    A leaf name alone (``targets=4``) is enough where it is unique; text is read as the
    field's type.

    Raises:
        JepalibError: no such setting (with the nearest name), or not of its type.
    """
    for name, value in settings.items():
        config = _override_one(config, _resolve(config, name), value, name)
    return config


def setting_names(config: object, prefix: str = "") -> list[str]:
    """All settings of a config by dotted name."""
    names = []
    for f in fields(config):
        value = getattr(config, f.name)
        nested = is_dataclass(value)
        names += setting_names(value, f"{prefix}{f.name}.") if nested else [f"{prefix}{f.name}"]
    return names


def _resolve(config: object, name: str) -> list[str]:
    names = setting_names(config)
    matches = [n for n in names if n == name] or [n for n in names if n.endswith(f".{name}")]
    if len(matches) > 1:
        raise JepalibError(f"setting '{name}' is ambiguous: {', '.join(matches)}")
    if not matches:
        leaves = {n.split(".")[-1] for n in names} | set(names)
        raise JepalibError(f"unknown setting '{name}'{_suggest(name, leaves)}")
    return matches[0].split(".")


def _override_one(config: T, path: list[str], value: object, shown: str) -> T:
    head, *rest = path
    if rest:
        return replace(config, **{head: _override_one(getattr(config, head), rest, value, shown)})
    kind = typing.get_type_hints(type(config))[head]
    return replace(config, **{head: _as(kind, value, shown, "--set")})


def _as(kind: Any, value: object, name: str, source: str) -> object:
    """`value`, perhaps text, as the type `kind` of the setting `name`."""
    try:
        return _convert(kind, value)
    except (ValueError, TypeError, OverflowError, SyntaxError):
        shown = getattr(kind, "__name__", None) if not typing.get_args(kind) else str(kind)
        raise JepalibError(f"{source}: {name} = {value!r} is not of type {shown}") from None


def _convert(kind: Any, value: object) -> object:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "None":
            return None
        return _convert(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        if isinstance(value, str):
            value = _sequence(value)
        inner = args[0] if args[-1] is Ellipsis else None
        if inner is None and len(value) != len(args):
            raise ValueError
        return tuple(_convert(inner or args[i], v) for i, v in enumerate(value))
    if kind is bool:
        word = str(value).lower()
        return word in ("true", "1") if word in ("true", "false", "1", "0") else _no()
    if kind is int:
        number = float(value)
        return int(number) if number == int(number) and not isinstance(value, bool) else _no()
    if kind is float:
        return float(value) if not isinstance(value, bool) else _no()
    return value if isinstance(value, kind) else _no()


def _sequence(text: str) -> list[object]:
    """'0.1,0.2' or '(0.1, 0.2)' or 'pid,td' or '' as a list."""
    text = text.strip().strip("()[]")
    items = [item.strip() for item in text.split(",") if item.strip()]
    return [ast.literal_eval(i) if i[0] in "'\"" else i for i in items]


def _no() -> typing.NoReturn:
    raise ValueError


def _names(names: list[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
