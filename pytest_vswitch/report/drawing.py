"""The topology drawn as in the guide's figure 4.1, with the counters of one trial.

The generator stands at the bottom, the guest on top. Frames of the first port go
up on the left and come back on the right; those of the second the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import units
from pytest_vswitch.topologies.topology import Hop, Node

WIDTH, GAP, ROW, HEAD, EDGE = 560, 52, 19, 34, 16
"""Of the drawing, between boxes, of a line of text, of a box's name, above its ports [px]."""


@dataclass(frozen=True, slots=True)
class Label:
    """One hop's counters inside a box."""

    x: float
    sign: str
    direction: int
    hop: Hop


def topology(nodes: Sequence[Node], outer: Sequence[str], trial: Trial | None) -> Markup:
    """The boxes, their ports and wires; each hop's counters if there is a trial.

    `outer` are the DUT's ports that the generator is wired to. Empty without nodes.
    """
    if not nodes:
        return Markup("")
    labels = {node.name: _labels(node, nodes, trial) for node in nodes}
    body: list[Markup] = []
    y = 4.0
    below: tuple[float, Sequence[str]] | None = None
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        down, up = _sides(node, outer, first=index == 0, last=index == len(nodes) - 1)
        rows = labels[node.name]
        height = HEAD + _rows_height(rows) + EDGE * bool(down) + 6
        if below is not None:
            body += _wires(below[0], y, min(len(below[1]), len(up)), trial)
        body.append(_box(node, y, height))
        body += [_port(px, y, name) for px, name in zip(_spread(len(up)), up, strict=True)]
        body += _counters(rows, y + HEAD, trial)
        body += [
            _port(px, y + height, name) for px, name in zip(_spread(len(down)), down, strict=True)
        ]
        below = (y + height, down)
        y += height + GAP
    return Markup(
        '<svg class="drawing" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(
        WIDTH,
        y - GAP + 14,
        "Topology: " + ", ".join(node.name for node in reversed(nodes)),
        Markup("").join(body),
    )


def owner(hop: Hop, nodes: Sequence[Node]) -> Node | None:
    """The box that a hop lies in, by its name; the generator's edges lie in the generator."""
    for node in nodes:
        if hop.name.startswith(f"{node.name}:"):
            return node
    if hop.name.startswith("generator ->") or hop.name.endswith("-> generator"):
        return next((node for node in nodes if node.where == "generator"), None)
    return None


def _sides(
    node: Node, outer: Sequence[str], *, first: bool, last: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """A box's ports towards the generator, and those away from it."""
    if first:
        return (), node.ports
    if last:
        return node.ports, ()
    facing = [port for port in node.ports if port in outer] or node.ports[: len(node.ports) // 2]
    return facing, [port for port in node.ports if port not in facing]


def _labels(node: Node, nodes: Sequence[Node], trial: Trial | None) -> list[Label]:
    labels = []
    for number, path in enumerate(trial.paths if trial else ()):
        mine = [hop for hop in path if owner(hop, nodes) is node]
        entry = trial.directions[number].tx_port % 2 if trial else 0
        for place, hop in enumerate(mine):
            if len(mine) == 1:
                labels.append(Label(WIDTH / 2, "◀" if entry else "▶", number, hop))
            elif place < len(mine) / 2:
                labels.append(Label(_rail(entry), "▲", number, hop))
            else:
                labels.append(Label(_rail(1 - entry), "▼", number, hop))
    return labels


def _rail(side: int) -> float:
    return WIDTH * (0.25 + 0.5 * side)


def _spread(count: int) -> list[float]:
    return [WIDTH * (number + 0.5) / count for number in range(count)]


def _rows_height(labels: Sequence[Label]) -> float:
    columns: dict[float, int] = {}
    for label in labels:
        columns[label.x] = columns.get(label.x, 0) + 1 + (label.hop.lost > 0)
    return ROW * max(columns.values(), default=0)


def _counters(labels: Sequence[Label], top: float, trial: Trial | None) -> list[Markup]:
    lossy = trial.lossy_hop if trial else None
    used: dict[float, float] = {}
    shapes = []
    for label in labels:
        y = used.get(label.x, top) + 13
        hop = label.hop
        if hop is lossy:
            shapes.append(
                Markup(
                    '<rect class="worst" x="{:.0f}" y="{:.0f}" width="250" height="{}" rx="4"/>'
                ).format(label.x - 125, y - 14, 2 * ROW)
            )
        shapes.append(
            Markup(
                '<text class="mid" x="{:.0f}" y="{:.0f}"><title>{}</title>'
                '<tspan class="dir{}">{}</tspan> {} in, {} out</text>'
            ).format(
                *(label.x, y, hop.name, label.direction % 2, label.sign),
                *(units.frames(hop.entered), units.frames(hop.left)),
            )
        )
        if hop.lost > 0:
            y += ROW
            text = f"{units.frames(hop.lost)} lost" + (" - most of all" if hop is lossy else "")
            shapes.append(
                Markup('<text class="mid lost" x="{:.0f}" y="{:.0f}">✖ {}</text>').format(
                    label.x, y, text
                )
            )
        used[label.x] = y + ROW - 13
    return shapes


def _box(node: Node, y: float, height: float) -> Markup:
    return Markup(
        '<rect class="box {}" x="4" y="{:.0f}" width="{}" height="{:.0f}" rx="8"/>'
        '<text class="mid node" x="{}" y="{:.0f}">{}</text>'
    ).format(node.where, y, WIDTH - 8, height, WIDTH / 2, y + 20, node.name)


def _port(x: float, y: float, name: str) -> Markup:
    width = max(64.0, 7.6 * len(name) + 14)
    return Markup(
        '<rect class="port" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="22" rx="4"/>'
        '<text class="mid" x="{:.1f}" y="{:.1f}">{}</text>'
    ).format(x - width / 2, y - 11, width, x, y + 4, name)


def _wires(top: float, bottom: float, count: int, trial: Trial | None) -> list[Markup]:
    """Between two boxes: for each pair of ports, one arrow per direction."""
    shapes = []
    ends = [(d.tx_port, d.rx_port) for d in trial.directions] if trial else [(0, 1), (1, 0)]
    for number, x in enumerate(_spread(count)):
        for direction, (tx, rx) in enumerate(ends):
            if number == tx:
                shapes.append(_arrow(x - 7, bottom - 12, top + 13, direction))
            if number == rx:
                shapes.append(_arrow(x + 7, top + 12, bottom - 13, direction))
    return shapes


def _arrow(x: float, start: float, end: float, direction: int) -> Markup:
    back = 6 if start > end else -6
    return Markup(
        '<path class="wire dir{}" d="M{x:.1f} {:.1f}V{y:.1f}m-3.5 {back}l3.5 {away} 3.5 {back}"/>'
    ).format(direction % 2, start, x=x, y=end, back=back, away=-back)
