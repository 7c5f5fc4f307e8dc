"""The command line: `jepalib simulate | convert | pretrain | adapt | embed | predict | run | sweep`.

Heavy imports are inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jepalib.errors import JepalibError


class Guarded(TyperGroup):
    """A mistake that the user can mend ends in one message and status 2, an interrupt in status 130."""

    def invoke(self, ctx: Any) -> Any:  # click's context; typer may carry its own click
        try:
            return super().invoke(ctx)
        except JepalibError as error:
            print(f"jepalib: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except OSError as error:  # no space, no permission, a file where a folder should be
            where = f"{error.filename}: " if error.filename else ""
            print(f"jepalib: {where}{error.strerror or error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("jepalib: interrupted; the same command goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Self-supervised foundation models of particle jets.",
)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress lines.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores when not given.")]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Another value of a setting; may be repeated.")
]


def words(text: str) -> list[str]:
    """``"a,b"`` as ``["a", "b"]``."""
    return [word.strip() for word in text.split(",") if word.strip()]


def whole_numbers(text: str, option: str) -> list[int]:
    """``"500,2000"`` as numbers; 1e5 and 10_000 are understood too."""
    try:
        numbers = [float(word) for word in words(text)]
    except ValueError:
        numbers = []
    if not numbers or any(number < 1 or number != int(number) for number in numbers):
        raise JepalibError(f"{option} takes whole numbers above 0 with commas between, not '{text}'")
    return [int(number) for number in numbers]


def label_counts(text: str, data: Path) -> list[int]:
    """``"500,2 %"`` as numbers of labels; shares are of the training jets of the store `data`."""
    from jepalib.data.store import JetStore
    from jepalib.training.adapt import share_of_labels

    counts = []
    for word in words(text) or [text]:
        if not word.endswith("%"):
            counts += whole_numbers(word, "--labels")
            continue
        try:
            percent = float(word.removesuffix("%"))
        except ValueError:
            raise JepalibError(f"--labels: '{word}' is no share; write 0.5%") from None
        counts.append(share_of_labels(percent, JetStore.open(data)))
    return counts


def launch_processes(processes: int) -> None:
    """Become torch's launcher of this same command, each process on its share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "--", "jepalib.workbook.cli", *sys.argv[1:]])


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the files; made if it is not there.")],
    split: Annotated[str, typer.Option(help="train, val or test.")],
    jets_per_class: Annotated[int, typer.Option(help="Jets of each class.")],
    classes: Annotated[str, typer.Option(help="Classes with commas between; all ten by default.")] = "",
    files_per_class: Annotated[int, typer.Option(help="Files that a class is split over.")] = 1,
    seed: Seed = 0,
    workers: Workers = None,
    dataset: Annotated[str, typer.Option(help="jetclass, top, quark-gluon or lhco.")] = "jetclass",
    signal_events: Annotated[
        int | None,
        typer.Option(help="Of lhco, where jets per class are background events; as many if not given."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Simulate jets in JetClass format (OUT/SPLIT/PROCESS_NNN.root), or a twin of another data set."""
    from jepalib.data.simulation import simulate as simulate_jets

    files = simulate_jets(
        out,
        split,
        jets_per_class if signal_events is None else (jets_per_class, signal_events),
        classes=words(classes) or None,
        files_per_class=files_per_class,
        seed=seed,
        workers=workers,
        quiet=quiet,
        dataset=dataset,
    )
    print(f"{len(files)} files in {out / split}")


@app.command()
def convert(
    sources: Annotated[list[Path], typer.Argument(help="Files (.root, .h5, .npz), or folders of them.")],
    store: Annotated[Path, typer.Argument(help="Folder of the store to make.")],
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    dataset: Annotated[
        str, typer.Option(help="jetclass, top, quark-gluon or lhco; told by the files when not given.")
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Convert files of a public data set, JetClass first of all, once into a store read at memory speed."""
    from jepalib.data.convert import convert as convert_files

    made = convert_files(sources, store, workers=workers, quiet=quiet, dataset=dataset or None)
    print(f"{len(made)} jets in {store}")


@app.command()
def pretrain(
    data: Annotated[Path, typer.Option(help="Store that `jepalib convert` made.")],
    run: Annotated[Path, typer.Option(help="Run folder; an unfinished one is gone on with.")],
    method: Annotated[
        str, typer.Option(help="jp-jepa, hep-jepa, p-jepa, jet-targets or supervised.")
    ] = "jp-jepa",
    size: Annotated[str, typer.Option(help="Size of the encoder, atto to huge.")] = "nano",
    settings: Settings = [],  # noqa: B006  typer wants a plain default and copies it
    start: Annotated[
        Path | None, typer.Option(help="Run whose encoder this one begins with; random weights without it.")
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Processes that share every batch: one per GPU, or per few CPU cores.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Pre-train an encoder, without labels unless the method is supervised."""
    if processes < 1:
        raise JepalibError(f"--processes {processes}: give a whole number of at least 1")
    if processes > 1 and "RANK" not in os.environ:
        launch_processes(processes)
    from jepalib.training.presets import pretrain_config
    from jepalib.training.pretrain import pretrain as pretrain_encoder
    from jepalib.workbook.parameters import split_settings

    config = pretrain_config(method, size, split_settings(settings))
    pretrain_encoder(config, data, run, quiet, start)
    if os.environ.get("RANK", "0") == "0":
        print(f"run in {run}")


@app.command()
def adapt(
    data: Annotated[Path, typer.Option(help="Store that `jepalib convert` made.")],
    labels: Annotated[
        str, typer.Option(help="Numbers of labels, or shares such as 0.5%, with commas between.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for few_shot.csv and the adapted models.")],
    run: Annotated[Path | None, typer.Argument(help="Run folder of a pre-training.")] = None,
    modes: Annotated[
        str, typer.Option(help="linear-probe, frozen, fine-tuned, from-scratch.")
    ] = "frozen,fine-tuned,from-scratch",
    heads: Annotated[str, typer.Option(help="mlp, linear, class-attention.")] = "mlp",
    seeds: Annotated[int, typer.Option(help="How many seeds of each.")] = 3,
    settings: Settings = [],  # noqa: B006
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train taggers on few labels, pre-trained against from scratch."""
    from jepalib.training.adapt import adapt as adapt_encoder
    from jepalib.workbook.parameters import split_settings

    counts = label_counts(labels, data)
    overrides = split_settings(settings)
    table = adapt_encoder(
        run, data, out, counts, words(modes), seeds, words(heads), overrides, workers, quiet
    )
    print(f"{len(table)} rows in {out / 'few_shot.csv'}")


Files = Annotated[
    list[Path], typer.Argument(help="Files of any data set (.root, .h5, .npz); labels are not needed.")
]
Parquet = Annotated[Path, typer.Option(help="Table to write, .parquet.")]


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="Run folder of a pre-training.")],
    files: Files,
    out: Parquet,
    quiet: Quiet = False,
) -> None:
    """Write the jet embedding of every jet, in the order of the files."""
    from jepalib.training.embed import embed as embed_files

    embed_files(run, files, out, quiet)


@app.command()
def predict(
    adapted: Annotated[Path, typer.Argument(help="Folder of an adapted model.")],
    files: Files,
    out: Parquet,
    quiet: Quiet = False,
) -> None:
    """Write the class probabilities of every jet, in the order of the files."""
    from jepalib.training.embed import predict as predict_files

    predict_files(adapted, files, out, quiet)


ProfileName = Annotated[str, typer.Option(help="smoke, laptop or paper.")]
Parameters = Annotated[
    list[str], typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Another value of a parameter.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; runs/PROFILE by default.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what is done already.")]


@app.command()
def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="Notebooks by name, number or path; all when none is given.")
    ] = None,
    profile: ProfileName = "laptop",
    parameters: Parameters = [],  # noqa: B006
    out: Out = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Run the numbered notebooks in order and gather them in index.html."""
    from jepalib.workbook.runner import run_notebooks

    if not run_notebooks(notebooks or [], profile, parameters, out, force, quiet):
        raise typer.Exit(1)


@app.command()
def sweep(
    notebook: Annotated[str, typer.Argument(help="The collecting notebook, such as 07_ablations.")],
    profile: ProfileName = "laptop",
    parameters: Parameters = [],  # noqa: B006
    out: Out = None,
    show: Annotated[
        bool, typer.Option("--list", help="Only say what points there are, and which are done.")
    ] = False,
    points: Annotated[list[str], typer.Option("--point", help="This point only; may be repeated.")] = [],  # noqa: B006
    share: Annotated[
        str,
        typer.Option(
            metavar="I/N", help="Every N-th point from the I-th on, counted from 0: a job array's share."
        ),
    ] = "",
    workers: Workers = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Make the points of a sweep, each by itself: what a cluster runs as a job array."""
    from jepalib.workbook.job_array import chosen, planned, state
    from jepalib.workbook.sweeps import make_points

    if workers is not None and workers < 1:
        raise JepalibError(f"--workers {workers}: give a whole number of at least 1")
    jobs = chosen(planned(notebook, profile, parameters, out), points, share)
    if show:
        for job in jobs:
            print(f"{job.short:32s} {state(job)}")
        return
    make_points(jobs, workers or 0, force, quiet)
    print(f"{len(jobs)} points are done")


def main() -> None:
    """Entry point of the command `jepalib`."""
    app(prog_name="jepalib")


if __name__ == "__main__":
    main()
