"""A place to break jets by hand: inputs hidden, particles dropped, energies smeared, and what taggers say."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from jepalib import perturb
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.missing import without_inputs
from jepalib.schema import CLASSES, INPUT_GROUPS, INPUTS
from jepalib.viz.displays import class_title
from jepalib.viz.results import CURVES
from jepalib.viz.robustness import GROUP_TITLES
from jepalib.viz.style import PAGE
from jepalib.viz.widgets import Guard, show, slider

REMEMBERED = 200  # kinds of damage whose scores are kept: 8 kB for 200 jets and ten classes
HATCHES = ("", "//", "..", "xx")  # of the networks, beside their colours
SLIDERS = {  # field of `Damage` -> label and largest value, in per cent
    "random": ("dropped at random, %", 90),
    "softest": ("dropped, softest first, %", 90),
    "smearing": ("energy smearing, %", 50),
}


@dataclass(frozen=True)
class Damage:
    """What is wrong with the jets.

    Attributes:
        hidden: model inputs that are hidden from the networks (`schema.INPUTS`).
        random, softest: fractions of particles dropped, the softest first.
        smearing: relative width of each particle's energy.
    """

    hidden: tuple[str, ...] = ()
    random: float = 0.0
    softest: float = 0.0
    smearing: float = 0.0

    def done_to(self, jets: Jets, seed: int) -> Jets:
        """The jets after losses and smearing, always the same for one seed."""
        after = perturb.drop_softest(jets, self.softest)
        after = perturb.drop_particles(after, self.random, torch.Generator().manual_seed(seed))
        if not self.smearing:
            return after
        return perturb.smear_energy(after, self.smearing, torch.Generator().manual_seed(seed))


class RobustnessPlayground:
    """Damage some jets and see at once what it does to one of them and to the accuracy over all.

    Shown as the last line of a cell, it is a panel of controls where someone watches, and the
    figure of the first jet, undamaged, where no one does. Every scored kind of damage is
    remembered, so that going back costs nothing.

    Args:
        classifiers: networks by name, which give a logit for each class; on the CPU.
        jets: with labels; a few hundred answer within half a second for two Nano networks.
        classes: names of the classes in the order of the labels.
        seed: of what is dropped at random and smeared.
        memory: a file that keeps the controls, so that a new kernel finds them as they were.

    Raises:
        JepalibError: no networks, or too many to keep apart, no jets, or jets without labels.
    """

    def __init__(
        self,
        classifiers: Mapping[str, nn.Module],
        jets: Jets,
        classes: Sequence[str] = CLASSES,
        seed: int = 0,
        memory: Path | None = None,
    ) -> None:
        if not 1 <= len(classifiers) <= len(HATCHES):
            raise JepalibError(f"RobustnessPlayground: {len(classifiers)} networks; give 1 to {len(HATCHES)}")
        if len(jets) == 0 or int(jets.labels.min()) < 0:
            raise JepalibError("RobustnessPlayground: no jets, or some without a label")
        self.classifiers = {name: model.eval() for name, model in classifiers.items()}
        self.jets, self.classes, self.seed, self.memory = jets, tuple(classes), seed, memory
        self._scores: OrderedDict[Damage, dict[str, np.ndarray]] = OrderedDict()

    @torch.no_grad()
    def scores(self, damage: Damage) -> dict[str, Float[np.ndarray, "jets classes"]]:
        """Class probabilities of all jets by each network."""
        if damage not in self._scores:
            jets = damage.done_to(self.jets, self.seed)
            found = {}
            for name, model in self.classifiers.items():
                blind = without_inputs(model, damage.hidden) if damage.hidden else model
                found[name] = blind(jets).float().softmax(1).numpy()
            self._scores[damage] = found
            if len(self._scores) > REMEMBERED:
                self._scores.popitem(last=False)
        return self._scores[damage]

    def accuracy(self, damage: Damage) -> dict[str, float]:
        """Share of the jets whose most probable class is the true one, by network."""
        labels = self.jets.labels.numpy()
        return {name: float((p.argmax(1) == labels).mean()) for name, p in self.scores(damage).items()}

    def sentence(self, damage: Damage) -> str:
        """The accuracies in words."""
        clean, now = self.accuracy(Damage()), self.accuracy(damage)
        parts = [f"{name} {now[name]:.3f} (clean {clean[name]:.3f})" for name in now]
        return f"Accuracy over {len(self.jets)} jets: {'; '.join(parts)}."

    def figure(self, row: int = 0, damage: Damage = Damage()) -> Figure:
        """The static twin: scores of one jet by each network, and accuracy now and when clean.

        Raises:
            JepalibError: there is no such jet.
        """
        if not 0 <= row < len(self.jets):
            raise JepalibError(f"RobustnessPlayground: no jet {row}; there are 0 to {len(self.jets) - 1}")
        figure = Figure(figsize=(PAGE, 3.2))  # margins by hand: finding them takes longer than drawing
        margins = {"left": 0.07, "right": 0.99, "bottom": 0.17, "top": 0.83, "wspace": 0.22}
        left, right = figure.subplots(1, 2, width_ratios=[3, 1], gridspec_kw=margins)
        self._draw_jet(left, row, damage)
        self._draw_accuracy(right, damage)
        figure.legend(*left.get_legend_handles_labels(), loc="upper center", ncols=5)
        return figure

    def _draw_jet(self, ax: Axes, row: int, damage: Damage) -> None:
        """Bars of the class probabilities of one jet, its true class on grey."""
        scores = self.scores(damage)
        places, width = np.arange(len(self.classes)), 0.8 / len(scores)
        for number, (name, p) in enumerate(scores.items()):
            shift = width * (number - (len(scores) - 1) / 2)
            ax.bar(places + shift, p[row], width, color=CURVES[number][0], label=name,
                   hatch=HATCHES[number], edgecolor="white")  # fmt: skip
        ax.set_xticks(places, [class_title(name) for name in self.classes], rotation=30, ha="right")
        true = int(self.jets.labels[row])
        ax.axvspan(true - 0.5, true + 0.5, color="#eeeeee", zorder=0, label="true class")
        left = int(damage.done_to(self.jets.take([row]), self.seed).counts[0])
        ax.set_title(f"jet {row}: {left} of {int(self.jets.counts[row])} particles")
        ax.set_ylim(0, 1)
        ax.set_ylabel("probability")
        ax.tick_params(axis="x", which="both", length=0)
        ax.minorticks_off()

    def _draw_accuracy(self, ax: Axes, damage: Damage) -> None:
        """Accuracy of each network with its binomial error, and a tick at the clean level."""
        clean, now = self.accuracy(Damage()), self.accuracy(damage)
        for number, (name, value) in enumerate(now.items()):
            error = (value * (1 - value) / len(self.jets)) ** 0.5
            ax.bar(number, value, 0.7, yerr=error, color=CURVES[number][0], capsize=3, edgecolor="white",
                   hatch=HATCHES[number])  # fmt: skip
            ax.plot([number - 0.45, number + 0.45], [clean[name]] * 2, color="black", linewidth=1.5)
        ax.set_xticks(range(len(now)), [f"{value:.3f}" for value in now.values()])
        ax.tick_params(axis="x", which="both", length=0)
        ax.minorticks_off()
        ax.set_xlim(-0.6, len(now) - 0.4)
        top = ax.get_ylim()[1]  # of bars and errors; but while these are lower the axis stands still
        ax.set_ylim(0, max(0.1, 1.25 * max(clean.values()), top))
        ax.set_title(f"all {len(self.jets)} jets")
        ax.set_ylabel("accuracy (line: clean)")

    def controls(self) -> Any:
        """The live panel (an ipywidgets box); its figure follows every change."""
        return _Panel(self).box

    def _ipython_display_(self) -> None:
        show(self)


class _Panel:
    """The controls of one playground, the image they redraw, and the accuracies in words."""

    def __init__(self, playground: RobustnessPlayground) -> None:
        import ipywidgets as widgets

        self.playground, self.guard = playground, Guard()
        self.row = slider(0, 0, len(playground.jets) - 1, "jet")
        self.sliders = {name: slider(0, 0, most, title) for name, (title, most) in SLIDERS.items()}
        tight = widgets.Layout(width="13em", margin="0")
        self.inputs = {
            name: widgets.Checkbox(True, description=name, indent=False, layout=tight) for name in INPUTS
        }
        self.groups = {group: widgets.Checkbox(True, description=f"{title} ({group})", indent=False)
                       for group, title in GROUP_TITLES.items()}  # fmt: skip
        self.again = widgets.Button(description="all whole again", tooltip="undo all damage")
        self.image = widgets.Image(format="png", width=640)
        self.words = widgets.HTML()
        for control in (self.row, *self.sliders.values()):
            control.style.description_width = "14em"
        redraw = self.guard(self.draw)
        self.observed = [self.row, *self.sliders.values(), *self.inputs.values()]
        for control in self.observed:
            control.observe(redraw, "value")
        for group, control in self.groups.items():
            control.observe(self.guard(lambda event, group=group: self.toggle(group, event["new"])), "value")
        self.again.on_click(self.guard(lambda _: self.assume(Damage())))
        self.busy = False
        self.box = self._layout(widgets)
        self.guard(self.restore)()

    def _layout(self, widgets: Any) -> Any:
        columns = [
            widgets.VBox([self.groups[group], *(self.inputs[name] for name in INPUTS[which])])
            for group, which in INPUT_GROUPS.items()
        ]
        left = widgets.VBox([self.row, *self.sliders.values(), self.again])
        title = widgets.HTML("Inputs that the networks are given:")
        top = widgets.HBox([left, self.image])
        return widgets.VBox([top, self.words, self.guard.line, title, widgets.HBox(columns)])

    @property
    def damage(self) -> Damage:
        """What the controls say."""
        hidden = tuple(name for name, box in self.inputs.items() if not box.value)
        return Damage(hidden, **{name: control.value / 100 for name, control in self.sliders.items()})

    def assume(self, damage: Damage) -> None:
        """Set the controls to a kind of damage, and draw once."""
        self.busy = True
        try:
            for name, box in self.inputs.items():
                box.value = name not in damage.hidden
            for name, control in self.sliders.items():
                control.value = round(100 * getattr(damage, name))
        finally:
            self.busy = False
        self.draw()

    def toggle(self, group: str, given: bool) -> None:
        """A whole group is given or hidden."""
        if not self.busy:
            names, damage = INPUTS[INPUT_GROUPS[group]], self.damage
            hidden = {*damage.hidden} - {*names} if given else {*damage.hidden, *names}
            self.assume(replace(damage, hidden=tuple(name for name in INPUTS if name in hidden)))

    def draw(self, _: Any = None) -> None:
        """Draw and say anew what the controls ask for, and note it."""
        if self.busy:
            return
        damage = self.damage
        self.busy = True
        for group, which in INPUT_GROUPS.items():
            self.groups[group].value = not {*INPUTS[which]} & {*damage.hidden}
        self.busy = False
        self.image.value = _image(self.playground.figure(self.row.value, damage))
        self.words.value = f'<p role="status">{self.playground.sentence(damage)}</p>'
        if self.playground.memory is not None:
            state = {"row": self.row.value, **asdict(damage)}
            self.playground.memory.write_text(json.dumps(state) + "\n")

    def restore(self) -> None:
        """Draw what the last kernel left, or the first jet undamaged.

        Raises:
            JepalibError: the file of an earlier kernel cannot be read; all is drawn whole.
        """
        file = self.playground.memory
        if file is None or not file.is_file():
            return self.draw()
        try:
            state = json.loads(file.read_text())
            row, damage = int(state.pop("row")), Damage(**{**state, "hidden": tuple(state["hidden"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.draw()
            raise JepalibError(f"{file}: what was set before cannot be read ({error})") from None
        self.busy = True
        self.row.value = min(max(row, 0), self.row.max)
        self.busy = False
        self.assume(damage)


def _image(figure: Figure) -> bytes:
    """The figure as a PNG, drawn once; `savefig` would draw it again to cut its margins."""
    figure.set_dpi(140)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
