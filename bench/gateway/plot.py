"""The picture of a run: bars for a few figures, drawn as SVG by hand so that no plotting library is needed."""

from __future__ import annotations

from html import escape
from typing import Any

from bench.gateway.report import Row, number, rows_of

_PANELS = (
    ("rps_32", "requests/s, 32 connections (more is better)"),
    ("cpu_us_32", "CPU µs per request, 32 connections (less is better)"),
    ("added_p99_us", "added p99 at half load, µs (less is better)"),
    ("event_cpu_us", "CPU µs per streamed event, 400 streams (less is better)"),
)
_WIDTH, _LABEL, _BAR = 760, 190, 450  # pixels: all, names, the longest bar
_LINE, _TITLE, _GAP = 22, 30, 18
_OWN, _OTHER, _RUST = "#0b6e99", "#b9c2c9", "#c98b5b"


def svg(results: dict[str, Any]) -> str:
    """Return the picture."""
    rows = [row for row in rows_of(results) if row["figures"]]
    parts, top = [], _GAP
    for name, title in _PANELS:
        shown = [row for row in rows if row["figures"].get(name) is not None]
        if shown:
            parts.append(_panel(shown, name, title, top))
            top += _TITLE + _LINE * len(shown) + _GAP
    style = 'font-family="system-ui, sans-serif" font-size="13" fill="#22303a"'
    inner = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" {style}>'
        f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>{inner}</svg>\n'
    )


def _panel(rows: list[Row], name: str, title: str, top: int) -> str:
    values = [max(0.0, row["figures"][name]) for row in rows]
    # One that is far off would press all others flat: its bar is cut, and its number says how long it would be.
    ordered = sorted(values)
    longest = min(ordered[-1], 4 * ordered[(len(ordered) - 1) // 2]) or 1.0
    parts = [f'<text x="10" y="{top + 14}" font-weight="600">{escape(title)}</text>']
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        y = top + _TITLE + _LINE * place
        color = _OWN if row["name"].startswith("penstock") else _RUST if row["rust"] else _OTHER
        length = max(1.0, _BAR * min(value, longest) / longest)
        cut = " …" if value > longest else ""
        label = escape(row["title"].strip("*"))
        parts.append(f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_LINE - 6}" rx="2" fill="{color}"/>')
        shown = number(row["figures"][name])
        parts.append(f'<text x="{_LABEL + length + 6:.1f}" y="{y + 12}">{cut} {shown}</text>')
    return "".join(parts)
