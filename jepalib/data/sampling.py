"""Batches of a store: a seeded endless stream for training, one ordered pass for evaluation."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from jepalib.data.permutation import Permutation
from jepalib.data.store import JetStore, pick
from jepalib.errors import JepalibError
from jepalib.jets import Jets

PREFETCH = 2  # batches that wait ready while one is trained on
SPAN = 16  # batches whose rows are worked out together where no window is asked for
SCAN = 1 << 20  # rows looked at together while short jets are searched


class BatchStream:
    """Endless shuffled batches; batch `number` depends on (seed, number) and nothing else.

    A run that stops after any batch goes on with ``from_batch(number + 1)``: there is no
    state to save. Every epoch is one permutation of the rows, cut into
    `batches_per_epoch` batches whose sizes differ by one at most and never exceed
    `batch_size`, so every row comes exactly once per epoch.

    With a `window` of several batches, the rows of that many consecutive batches are
    sorted by length, cut, and the batches shuffled again: jets of similar length share a
    batch (less padding), and the memory is still that of the batch.

    Args:
        rows: store rows to draw from (`JetStore.rows`, `stratified_subset`).
        batch_size: most jets in a batch, over all ranks.
        seed: non-negative.
        window: batches sorted by length together; 0 does not sort.
        min_particles: jets with fewer are left out; `left_out` says how many.

    Raises:
        JepalibError: a parameter out of range, or no jets are left.
    """

    def __init__(
        self,
        store: JetStore,
        rows: np.ndarray | range,
        batch_size: int,
        seed: int,
        window: int = 0,
        min_particles: int = 0,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("window", window, 0)):
            if value < least:
                raise JepalibError(f"batches: {name}={value}, must be at least {least}")
        self.store, self.rows, self.seed, self.window = store, rows, seed, window
        short = _short_jets(store, rows, min_particles)
        self.left_out = len(short)
        self.size = len(rows) - len(short)
        if self.size < 1:
            raise JepalibError(f"batches: none of {len(rows)} jets has {min_particles} particles or more")
        self._shift = short - np.arange(len(short))  # kept jets before each one that is left out
        self.batches_per_epoch = -(-self.size // batch_size)
        self._pieces: tuple[tuple[int, int], list[np.ndarray]] = ((-1, -1), [])

    def rows_of(self, number: int, rank: int = 0, world: int = 1) -> Int[np.ndarray, " jets"]:
        """Store rows of batch `number`, or the share of one rank of `world` of it."""
        epoch, place = divmod(number, self.batches_per_epoch)
        window, place = divmod(place, self.window or SPAN)
        key, pieces = self._pieces
        if key != (epoch, window):
            pieces = self._cut_window(epoch, window)
            self._pieces = ((epoch, window), pieces)
        share = pieces[place][rank::world]
        if not len(share):
            raise JepalibError(
                f"batches: a batch of {len(pieces[place])} jets gives rank {rank} of {world} none; "
                "take larger batches or fewer processes"
            )
        return share

    def batch(self, number: int, rank: int = 0, world: int = 1) -> Jets:
        """Batch `number` (from 0) of the endless stream, packed.

        Raises:
            JepalibError: the batch has fewer jets than `world` ranks.
        """
        return self.store.read(self.rows_of(number, rank, world))

    def __iter__(self) -> Iterator[tuple[int, Jets]]:
        return self.from_batch(0)

    def from_batch(self, number: int, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Jets]]:
        """(number, batch) from `number` on without end, read ahead by a thread."""
        ready: queue.Queue = queue.Queue(PREFETCH)
        stop = threading.Event()

        def offer(item: object) -> None:
            while not stop.is_set():
                try:
                    return ready.put(item, timeout=0.1)
                except queue.Full:
                    continue

        def work() -> None:
            following = number
            try:
                while not stop.is_set():
                    offer((following, self.batch(following, rank, world)))
                    following += 1
            except BaseException as error:
                offer(error)  # raised where the batches are used

        thread = threading.Thread(target=work, name="jepalib batches", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()

    def _cut_window(self, epoch: int, window: int) -> list[np.ndarray]:
        """Store rows of the batches of one window of one epoch."""
        batches = self.batches_per_epoch
        first = window * (self.window or SPAN)
        last = min(first + (self.window or SPAN), batches)
        edges = np.array([number * self.size // batches for number in range(first, last + 1)])
        kept = Permutation(self.size, self.seed, epoch)(np.arange(edges[0], edges[-1]))
        rows = pick(self.rows, kept + np.searchsorted(self._shift, kept, side="right"))
        if self.window:
            rows = rows[np.argsort(self.store.counts[rows], kind="stable")]
        pieces = np.split(rows, edges[1:-1] - edges[0])
        order = np.random.default_rng([self.seed, epoch, window]).permutation(len(pieces))
        return [pieces[piece] for piece in order]


def _short_jets(store: JetStore, rows: np.ndarray | range, min_particles: int) -> Int[np.ndarray, " short"]:
    """Positions in `rows` of jets with fewer particles; memory grows with their number only."""
    found = [np.zeros(0, np.int64)]
    for first in range(0, len(rows) if min_particles > 1 else 0, SCAN):
        part = rows[first : first + SCAN]
        counts = store.counts[part.start : part.stop] if isinstance(part, range) else store.counts[part]
        found.append(first + np.flatnonzero(counts < min_particles))
    return np.concatenate(found)


def evaluation_batches(
    store: JetStore, rows: np.ndarray | range, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " jets"], Jets]]:
    """Every row exactly once, sorted by length so that little is padded.

    Yields (positions, jets): `jets` are the store rows ``rows[positions]``, so that
    ``out[positions] = model(jets)`` gives results in the order of `rows`.

    Raises:
        JepalibError: batch_size is below 1.
    """
    if batch_size < 1:
        raise JepalibError(f"evaluation batches: batch_size={batch_size}, must be at least 1")
    counts = store.counts[rows.start : rows.stop] if isinstance(rows, range) else store.counts[rows]
    order = np.argsort(counts, kind="stable")
    for first in range(0, len(order), batch_size):
        positions = order[first : first + batch_size]
        yield positions, store.read(pick(rows, positions))
