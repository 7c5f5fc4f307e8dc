"""Progress: a moving bar where someone watches, a line every few seconds where no one does."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

LOG_EVERY = 5.0  # seconds between lines in a log


class Progress:
    """Counts up to `total`; a terminal shows a bar, a log or a notebook's job gets lines.

    ``with Progress(total, "simulate", unit="jets") as bar: bar.add(100, note="Hbb")``
    """

    def __init__(self, total: int, title: str, unit: str = "jets", quiet: bool = False) -> None:
        self.total, self.title, self.unit = total, title, unit
        self.done, self.note, self.quiet = 0, "", quiet
        self.start = self.last = time.monotonic()
        watched = sys.stderr.isatty() and not quiet
        self.bar = tqdm(total=total, desc=title, unit=f" {unit}", leave=True) if watched else None

    def add(self, count: int, note: str = "") -> None:
        """`count` more are done; `note` is shown behind the rate."""
        self.done += count
        self.note = note or self.note
        if self.bar is not None:
            self.bar.update(count)
            self.bar.set_postfix_str(self.note, refresh=False)
        elif time.monotonic() - self.last >= LOG_EVERY:
            self._line()

    def _line(self) -> None:
        if self.quiet:
            return
        self.last = time.monotonic()
        seconds = max(self.last - self.start, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else float("inf")
        share = 100 * self.done / max(self.total, 1)
        note = f"  {self.note}" if self.note else ""
        print(
            f"{self.title}: {self.done}/{self.total} {self.unit} ({share:.0f} %), "
            f"{_short(rate)} {self.unit}/s, {left:.0f} s left{note}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done:
            self._line()


def _short(rate: float) -> str:
    """Three digits where they say something: 0.25, 12.5, 1839."""
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
