"""Line charts as SVG text: no script, no style sheet, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

__all__ = ["Band", "Series", "line_chart"]

_WIDTH, _HEIGHT = 860, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 26, 34
_COLOURS = ("#2563eb", "#d97706", "#dc2626", "#059669", "#7c3aed")
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    """A point without a height interrupts the line."""


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the x axis that has a name."""

    name: str
    from_x: float
    until_x: float


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    from_px: float
    until_px: float
    is_log: bool = False

    def px(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = log10(low), log10(high), log10(max(value, self.low))
        return self.from_px + (self.until_px - self.from_px) * (at - low) / (high - low)

    def ticks(self) -> list[float]:
        if self.is_log:
            return [10.0**power for power in range(round(log10(self.low)), round(log10(self.high)) + 1)]
        step = _step((self.high - self.low) / _TICKS)
        first = ceil(self.low / step)
        return [number * step for number in range(first, floor(self.high / step) + 1)]


def line_chart(
    title: str, series: Sequence[Series], *, x_label: str, bands: Sequence[Band] = (), is_log: bool = False
) -> str:
    """An `<svg>` element.

    Args:
        title: above it.
        series: at most as many as there are colours.
        x_label: below it.
        bands: shown behind the lines, every other one shaded.
        is_log: whether heights are shown by their logarithm.
    """
    heights = [y for one in series for _, y in one.points if y is not None]
    widths = [x for one in series for x, _ in one.points] + [band.until_x for band in bands]
    if not heights:
        return f"<p>{escape(title)}: nothing was seen.</p>"
    x_scale = _Scale(min(0.0, *widths), max(*widths, 1.0), _LEFT, _WIDTH - _RIGHT)
    y_scale = _y_scale(heights, is_log=is_log)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="11" fill="currentColor">'
    )
    parts = [
        head,
        f'<text x="{_LEFT}" y="14" font-weight="bold">{escape(title)}</text>',
        *_bands(bands, x_scale),
        *_axes(x_scale, y_scale, x_label),
        *(line for number, one in enumerate(series) for line in _line(number, one, x_scale, y_scale)),
        "</svg>",
    ]
    return "\n".join(parts)


def _y_scale(heights: Sequence[float], *, is_log: bool) -> _Scale:
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    if not is_log:
        return _Scale(0.0, max(heights) * 1.05 or 1.0, bottom, top)
    least, most = (max(height, 1e-3) for height in (min(heights), max(heights)))
    low, high = floor(log10(least)), ceil(log10(most))
    return _Scale(10.0**low, 10.0 ** max(high, low + 1), bottom, top, is_log=True)


def _bands(bands: Sequence[Band], x_scale: _Scale) -> list[str]:
    parts = []
    for number, band in enumerate(bands):
        left, right = x_scale.px(band.from_x), x_scale.px(band.until_x)
        place = f'x="{left:.1f}" y="{_TOP}" width="{max(0.0, right - left):.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"'
        parts += [
            f'<rect {place} opacity="{0.07 if number % 2 else 0.02}"/>',
            f'<text x="{left + 4:.1f}" y="{_TOP + 11}" opacity="0.6">{escape(band.name)}</text>',
        ]
    return parts


def _axes(x_scale: _Scale, y_scale: _Scale, x_label: str) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for tick in y_scale.ticks():
        y = y_scale.px(tick)
        ends = f'x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"'
        parts += [
            f'<line {ends} stroke="currentColor" stroke-opacity="0.15"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>',
        ]
    parts += [
        f'<text x="{x_scale.px(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>'
        for tick in x_scale.ticks()
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    return parts


def _line(number: int, series: Series, x_scale: _Scale, y_scale: _Scale) -> list[str]:
    colour = _COLOURS[number]
    path, pen = [], "M"
    for x, y in series.points:
        if y is None:
            pen = "M"
            continue
        path.append(f"{pen}{x_scale.px(x):.1f} {y_scale.px(y):.1f}")
        pen = "L"
    at = _WIDTH - _RIGHT - 110 * (number + 1)
    return [
        f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
        f'<rect x="{at}" y="6" width="10" height="10" fill="{colour}"/>',
        f'<text x="{at + 14}" y="15">{escape(series.name)}</text>',
    ]


def _step(least: float) -> float:
    """The next round number."""
    power = 10.0 ** floor(log10(least))
    return next(round_one * power for round_one in (1, 2, 5, 10) if round_one * power >= least)
