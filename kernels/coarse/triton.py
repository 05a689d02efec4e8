"""The bound over cells on a GPU: logits are interpolated in registers and never written to memory.

All cells are read. Of each pixel 8 bytes are kept for its margin, which the ordinary bound counts, and 8 or a little
more for its key: keys lie cell by cell, ascending, with room for as many pixels as the next powers of two of a cell's
sides. The price at which a budget runs out is enclosed on the device, of all images, budgets and colours at once;
the host orders the pieces of the few envelopes that differ between the last two prices.

Integer ranges are those of `knapsack.triton_cuda`: flips times grid units are at most pixels times the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robspec import arrays
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse._slopes import spend
from robspec.kernels.coarse._tiles import Tiles, most_slots, tiles_of
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.coarse.layout import Lines
from robspec.kernels.coarse.shares import CpuShared, Reached, reached_of
from robspec.kernels.knapsack import BoolArray, IntArray, Items, _triton_launch
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.triton_cuda import BACKEND, TritonBackend, TritonPrepared

MOST_SLOTS = 4096
"""Pixels of a cell, its sides rounded up to powers of two, that one program can sort: 64 x 64, the corners of x32."""
SIZES = (256, 512)
"""Pixels of a tile, and pixels times prices that a program looks at at once."""
INTERPRETED_SIZES = (1 << 15, 1 << 20)
"""The same in the interpreter, where one program does as much as it can."""
_PRICES = 16
"""Prices tried in one look at the keys."""
_ROUNDS = 4
"""Looks: 40 powers of two become one part in 2^10, and few cells give up something else at one than at the other."""
_ROWS = 64
"""Rows of one program of `narrow`."""
_PER_WARP = 512
"""Pixels of a cell that one warp can hold; a program has four at least."""


def within_reach(grid: Grid) -> bool:
    """Tell whether the cells of a grid are small enough for one program each."""
    return most_slots(grid) <= MOST_SLOTS


class TritonCoarse:
    """Margins and keys of a batch on the device.

    Args:
        batch: what to read.
        sizes: as `SIZES`, powers of two, or None for what suits the device; no answer depends on them.
        backend: of the bound that does not look at cells.
    """

    backend = "triton"

    def __init__(
        self, batch: CoarseBatch, sizes: tuple[int, int] | None = None, backend: TritonBackend = BACKEND
    ) -> None:
        from robspec.kernels.knapsack._triton_kernels import INTERPRETED

        grid, (b, k, _, _) = batch.grid, batch.logits.shape
        height, width = grid.shape
        self.pixels, self.single, self._images, self._colours = height * width, k == 1, b, grid.colours
        self.grid = grid
        block, self._at_once = sizes or (INTERPRETED_SIZES if INTERPRETED else SIZES)
        logits = _triton_launch.logits_on_device(batch.logits)
        labels, label_strides = _triton_launch.labels_on_device(batch.labels)
        on = self._device = logits.device
        plan = _plan_of(grid, block, on)
        self._groups = [
            _Group(tiles, colours, _triton_launch.scratch((b, len(tiles.bands), tiles.slots), torch.float64, on))
            for tiles, colours, _ in plan.tiles
        ]
        margins = _triton_launch.scratch((b, self.pixels), torch.float64, on)
        histogram, counts = backend.tables(b, on)
        self._free = torch.zeros(b, dtype=torch.int64, device=on)
        self._met = torch.zeros((b, max(k, 2)), dtype=torch.int8, device=on)
        slack = torch.tensor(_slacks(batch), dtype=torch.float64, device=on)
        for group, (_, _, places) in zip(self._groups, plan.tiles, strict=True):
            _triton_launch.launch(
                "coarse.read_cells",
                (len(group.colours), b),
                logits,
                *logits.stride(),
                labels,
                *label_strides,
                0 if batch.ignore is None else batch.ignore,
                slack,
                *places,
                *plan.lines,
                margins,
                group.keys,
                histogram,
                counts,
                self._free,
                self._met,
                width,
                self.pixels,
                group.keys.shape[1],
                CLASSES=k,
                LABELLED=batch.labels is not None,
                IGNORING=batch.ignore is not None,
                EVERY=batch.items is Items.PREDICTED,
                WIDE=logits.dtype is torch.float64,
                BITS=backend.bits,
                TALL_SPAN=grid.rows.span,
                WIDE_SPAN=grid.columns.span,
                TALL=group.tiles.tall,
                BROAD=group.tiles.broad,
                TILE=group.tiles.tile,
                num_warps=group.warps,
            )
        labelled = batch.labels is not None
        self._margins = margins
        self.full: TritonPrepared = backend.of_margins(
            margins, histogram, counts, single=self.single, labelled=labelled
        )

    @property
    def items(self) -> IntArray:
        """See `CoarsePrepared`; reading it waits for the device."""
        return self.full.items

    @cached_property
    def predicted(self) -> BoolArray:
        """See `CoarsePrepared`; reading it waits for the device."""
        found: BoolArray = self._met.cpu().numpy().astype(np.bool_)
        return found

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `CoarsePrepared.flips`."""
        return self._flips(slice(0, self._images), budgets)

    def flips_of(self, image: int, budget: Budget) -> int:
        """See `CoarsePrepared.flips_of`."""
        return int(self._flips(slice(image, image + 1), [budget])[0, 0])

    def reached(self, image: int, budget: Budget) -> Reached:
        """See `CoarsePrepared.reached`; the margins of the image are brought to the host."""
        return reached_of(self._margins[image].cpu().numpy(), self.grid, budget)

    def shared(self, reached: Reached, parts: IntArray, top: Budget) -> CpuShared:
        """See `CoarsePrepared.shared`; on the host."""
        return CpuShared(reached, self.grid, parts, top)

    def _flips(self, images: slice, budgets: Sequence[Budget]) -> IntArray:
        """Bound the flips of neighbouring images."""
        out = np.empty((images.stop - images.start, len(budgets)), dtype=np.int64)
        summed = [m for m, budget in enumerate(budgets) if budget.exponent]
        if len(summed) < len(budgets):
            out[:] = self._free[images].cpu().numpy()[:, None]
        if summed:
            out[:, summed] = self._spent(images, [budgets[m] for m in summed])
        return out

    def _spent(self, images: slice, budgets: Sequence[Budget]) -> IntArray:
        """Spend budgets in every colour, flips of all colours added up."""
        on, asks = self._device, len(budgets)
        shape = (images.stop - images.start, asks, self._colours)
        rows = int(np.prod(shape))
        limits = np.array([budget.limit for budget in budgets], dtype=np.int64)
        # The price of 0 fits; at one more than the limit all items that could be paid for by themselves are given up.
        begin = np.zeros((5, *shape), dtype=np.int64)
        begin[1] = (limits + 1)[None, :, None]
        state = torch.from_numpy(begin.reshape(5, rows)).to(on)
        scales = torch.tensor([budget.scale for budget in budgets], dtype=torch.float64, device=on)
        asked = (scales, torch.from_numpy(limits).to(on), state)
        sums = torch.zeros((rows, _PRICES, 2), dtype=torch.int64, device=on)
        for _ in range(_ROUNDS):
            for group in self._groups:
                together = max(1, min(_PRICES, self._at_once // (group.tiles.tile * group.tiles.slots)))
                group.launch(
                    "given_up",
                    images,
                    *(*asked, sums, asks),
                    COLOURS=self._colours,
                    PRICES=_PRICES,
                    TOGETHER=together,
                )
            sizes = {"COLOURS": self._colours, "PRICES": _PRICES, "BLOCK": _ROWS}
            _triton_launch.launch("coarse.narrow", (-(-rows // _ROWS),), sums, *asked[1:], asks, rows, **sizes)
        low, high, spent, given, above = state.cpu().numpy()
        flips = given.copy()
        short = np.flatnonzero(high > low)
        if len(short):
            pieces = self._pieces(images, asked, asks, int((above - given)[short].sum()))
            left = np.repeat(limits[None, :, None], self._colours, 2) + np.zeros(shape, np.int64)
            _take(flips, short, left.reshape(-1) - spent, *pieces)
        total: IntArray = flips.reshape(shape).sum(axis=2)
        return total

    def _pieces(
        self, images: slice, asked: tuple[torch.Tensor, ...], asks: int, items: int
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Find the pieces of envelopes between what cells give up at the two prices of each row.

        Args:
            images: which ones.
            asked: scales, limits and state.
            asks: how many budgets there are.
            items: that are given up at the higher prices alone.

        Returns:
            Lengths, gains and rows of the state.
        """
        from robspec.kernels.coarse import _cells

        cursors = torch.zeros(2, dtype=torch.int64, device=self._device)
        found = _triton_launch.scratch((4, items), torch.int64, self._device)
        costs = _triton_launch.scratch((items,), torch.float64, self._device)
        for group in self._groups:
            group.launch("collect", images, *(*asked, cursors, found, costs, asks), room=items, COLOURS=self._colours)
        number, listed = cursors.tolist()
        if listed != items:
            raise RuntimeError("the cells are not those that were counted")
        row, cost, more, start = found[:, :number].cpu().numpy()
        # Costs are whole numbers below 2^53: they are keys of a scale of 1.
        keys = np.full((number, int(more.max(initial=1)), 1), np.inf)
        cell = np.repeat(np.arange(number), more)
        nth = np.arange(items) - np.repeat(np.cumsum(more) - more, more)
        keys[cell, nth, 0] = costs.cpu().numpy()[start[cell] + nth]
        pieces, until = np.empty((2, items), np.int64), np.empty(number, np.int64)
        given = (np.arange(number), cost, np.zeros(number, np.int64), more)
        _cells.between(keys, 1.0, *given, pieces[0], pieces[1], until)
        end = int(until.max(initial=0))
        return pieces[0, :end], pieces[1, :end], np.repeat(row, np.diff(until, prepend=0))


class _Group:
    """Cells of about one size, and their keys.

    Args:
        tiles: where they are.
        colours: int32 [tiles], on the device.
        keys: float64 [B, cells, slots].
    """

    def __init__(self, tiles: Tiles, colours: torch.Tensor, keys: torch.Tensor) -> None:
        self.tiles, self.colours, self.keys = tiles, colours, keys
        self.warps = max(4, tiles.slots // _PER_WARP)

    def launch(self, name: str, images: slice, *arguments: object, room: int | None = None, **constants: int) -> None:
        """Start a kernel over the keys of some images, which takes how many cells there are after all else."""
        rest = [self.keys.shape[1]] + ([] if room is None else [room])
        sizes = {"SLOTS": self.tiles.slots, "TILE": self.tiles.tile, "num_warps": self.warps, **constants}
        grid = (len(self.colours), images.stop - images.start)
        _triton_launch.launch(f"coarse.{name}", grid, self.keys[images], self.colours, *arguments, *rest, **sizes)


def _take(flips: IntArray, short: IntArray, left: IntArray, lengths: IntArray, gains: IntArray, of: IntArray) -> None:
    """Add what is left of each budget buys of the pieces of its row."""
    order = np.argsort(of, kind="stable")
    lengths, gains = lengths[order], gains[order]
    ends = np.searchsorted(of[order], [short, short + 1])
    for row, begin, end in zip(short.tolist(), *ends.tolist(), strict=True):
        flips[row] += spend(lengths[begin:end], gains[begin:end], int(left[row]))


def _slacks(batch: CoarseBatch) -> list[float]:
    """What the margins of each image may be too large by; unless it is nothing this waits for the device."""
    if batch.grid.rows.exact and batch.grid.columns.exact:
        return [0.0] * int(batch.logits.shape[0])
    largest = arrays.tensor(batch.logits).detach().abs().amax(dim=(1, 2, 3)).double()
    return [batch.grid.slack(value) for value in largest.tolist()]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a grid asks of the device.

    Args:
        grid: which one.
        block: pixels of a tile.
        on: the device.
        tiles: of each group of cells, on the host; on the device their colours; and bands and columns.
        lines: first nodes and first pixels of cells, weights of pixels and their inverses, along the height and along
            the width.
    """

    grid: Grid
    block: int
    on: torch.device
    tiles: list[tuple[Tiles, torch.Tensor, tuple[torch.Tensor, ...]]]
    lines: tuple[torch.Tensor, ...]


_last: list[_Plan] = []


def _plan_of(grid: Grid, block: int, on: torch.device) -> _Plan:
    """Bring a grid to the device; that of the last one is kept, as the batches of a check share it."""
    if not _last or _last[0].grid is not grid or (_last[0].block, _last[0].on) != (block, on):
        tiles = []
        for group in tiles_of(grid, block):
            colours, *places = _on_device(on, group.colours, group.bands, group.columns)
            tiles.append((group, colours, tuple(places)))
        _last[:] = [_Plan(grid, block, on, tiles, (*_lines(grid.rows, on), *_lines(grid.columns, on)))]
    return _last[0]


def _lines(axis: Axis, on: torch.device) -> tuple[torch.Tensor, ...]:
    lines = Lines(axis)
    return _on_device(on, lines.first, lines.starts, np.array(axis.weights), np.array(axis.inverse))


def _on_device(on: torch.device, *values: npt.NDArray[Any]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(value).to(on) for value in values)
