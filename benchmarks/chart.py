"""The chart: requests a second of every server at 64 connections and one image a request, and the limit as a line."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib.figure import Figure

from benchmarks.results import FLOOR, Results

_OURS, _PEER, _FLOOR_COLOUR, _LIMIT = "#1f6feb", "#8b949e", "#d0d7de", "#cf222e"


def draw_chart(results: Results, path: Path) -> None:
    """Writes an SVG whose texts are texts."""
    bars = sorted(_bars(results), key=lambda bar: bar[1])
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "digitscope", "font.size": 9}):
        figure = Figure(figsize=(8, 0.8 + 0.3 * len(bars)), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        drawn = axes.barh([bar[0] for bar in bars], [bar[1] for bar in bars], color=[bar[2] for bar in bars])
        axes.bar_label(drawn, [f"{bar[1]:,.0f}" for bar in bars], padding=3)
        if limit := results.limit():
            axes.axvline(limit.median, color=_LIMIT, linestyle="--", linewidth=1)
            axes.set_title(
                f"limit {limit.median:,.0f}: bare ASGI, then ONNX Runtime, on one CPU", color=_LIMIT, fontsize=9
            )
        axes.set_xlabel("requests a second, one image each, 64 connections")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
        figure.savefig(path, metadata={"Date": None})


def _bars(results: Results) -> list[tuple[str, float, str]]:
    found = []
    for key in dict.fromkeys(key for done in results.rounds for key in done.loads):
        server, form, images, connections = key.split("/")
        rate = results.rate(key)
        if rate is None or (images, connections) != ("1", "64"):
            continue
        colour = _OURS if server.startswith("digitscope") else _FLOOR_COLOUR if key == FLOOR else _PEER
        title = results.titles[server] if key == FLOOR else f"{results.titles[server]}: {form}"
        found.append((title, rate.median, colour))
    return found
