"""Masks as polygons: a ring a 4-connected part, its holes joined to it by bridges of no width.

Edges between pixels of the mask and others are followed with the mask on the right, so outer rings run clockwise on the
screen and holes the other way. A hole's bridge goes straight up from its topmost edge to the edge above.
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled

EAST, SOUTH, WEST, NORTH = 0, 1, 2, 3
# By direction: the step along an edge, and where its pixel lies from where it starts.
STEP_X, STEP_Y = (1, 0, -1, 0), (0, 1, 0, -1)
PIXEL_X, PIXEL_Y = (0, -1, -1, 0), (0, 0, -1, -1)
CORNER_X, CORNER_Y, DIRECTION, X, Y, NEXT = (
    0,
    1,
    2,
    3,
    4,
    5,
)  # columns of a node: an edge's start, its pixel, what follows


def outlines(crop_HW: np.ndarray, centres: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rings of a mask (H, W) uint8 of 0 and 1.

    Args:
        centres: rings through the centres of the border's pixels, as drawing programs fill them, in steps along rows
            and columns only; else along the pixels' corners, what the mask covers exactly.

    Returns:
        Points (P, 2) int64, x before y: the pixel's index, or the corner to its top left. (R,) int64: where each ring
        ends among the points. No ring repeats its first point.
    """
    height, width = crop_HW.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = crop_HW
    nodes, starts, tops, areas = _trace(padded)
    if (areas < 0).any():
        _join_holes(padded, nodes, tops[areas < 0])
        starts = starts[areas > 0]
    points = np.empty((2 * nodes.shape[0], 2), np.int64)
    ends = np.empty(starts.size, np.int64)
    write = _centres if centres else _corners
    end = 0
    for ring, start in enumerate(starts.tolist()):
        end = write(nodes, start, points, end)
        ends[ring] = end
    return points[:end], ends


@compiled()
def _trace(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All edges as nodes, and of every ring its first node, its topmost westward one, and its signed area."""
    edges, easts = 0, 0
    for y in range(1, padded.shape[0]):
        for x in range(1, padded.shape[1]):
            edges += (padded[y, x] != padded[y - 1, x]) + (padded[y, x] != padded[y, x - 1])
            easts += padded[y, x] > padded[y - 1, x]
    # A hole, which has at least 4 edges, is joined by 3 nodes more.
    nodes = np.empty((edges + 3 * (edges // 4), 6), np.int64)
    starts, tops, areas = np.empty(easts, np.int64), np.empty(easts, np.int64), np.empty(easts, np.int64)
    seen = np.zeros(padded.shape, np.bool_)
    rings, node = 0, 0
    for row in range(1, padded.shape[0] - 1):
        for column in range(1, padded.shape[1] - 1):
            if padded[row, column] == 0 or padded[row - 1, column] != 0 or seen[row, column]:
                continue
            x, y, direction = column - 1, row - 1, EAST
            first, top, area = node, -1, 0
            while node == first or not (x == column - 1 and y == row - 1 and direction == EAST):
                nodes[node, CORNER_X], nodes[node, CORNER_Y], nodes[node, DIRECTION] = x, y, direction
                nodes[node, X], nodes[node, Y] = x + PIXEL_X[direction], y + PIXEL_Y[direction]
                nodes[node, NEXT] = node + 1
                if direction == EAST:
                    seen[y + 1, x + 1] = True
                    area -= y
                elif direction == WEST:
                    area += y
                    if top < 0 or y < nodes[top, CORNER_Y]:
                        top = node
                x, y = x + STEP_X[direction], y + STEP_Y[direction]
                direction = _turn(padded, x, y, direction)
                node += 1
            nodes[node - 1, NEXT] = first
            starts[rings], tops[rings], areas[rings] = first, top, area
            rings += 1
    nodes[node:, NEXT] = -1
    return nodes, starts[:rings], tops[:rings], areas[:rings]


@compiled()
def _turn(padded: np.ndarray, x: int, y: int, direction: int) -> int:
    """Where the border goes on from a corner: to the right where it can, so that parts that only touch stay apart."""
    right, left = direction, (direction + 3) % 4
    # Clockwise from the bottom right: the pixels around the corner, each ahead on the right of one direction.
    if _around(padded, x, y, right) == 0:
        return (direction + 1) % 4
    return direction if _around(padded, x, y, left) == 0 else left


@compiled()
def _around(padded: np.ndarray, x: int, y: int, place: int) -> int:
    return int(padded[y + (1 if place < 2 else 0), x + (1 if place in (0, 3) else 0)])


def _join_holes(padded: np.ndarray, nodes: np.ndarray, tops: np.ndarray) -> None:
    """Join every hole, given by its topmost westward node, to the ring above it, from the top to the bottom."""
    traced = np.flatnonzero(nodes[:, NEXT] < 0)[0]
    easts = np.flatnonzero(nodes[:traced, DIRECTION] == EAST)
    keys = nodes[easts, CORNER_Y] * padded.shape[1] + nodes[easts, CORNER_X]
    order = np.argsort(keys)
    downwards = tops[np.argsort(nodes[tops, CORNER_Y], kind="stable")]
    _bridge(padded, nodes, downwards, easts[order], keys[order], traced)


@compiled()
def _bridge(
    padded: np.ndarray, nodes: np.ndarray, tops: np.ndarray, easts: np.ndarray, keys: np.ndarray, free: int
) -> None:
    """Put three nodes from `free` on into the rings for every hole: down to it, at its end, and up again."""
    for top in tops:
        x, below = nodes[top, X], nodes[top, Y]
        above = below
        while padded[above, x + 1] != 0:
            above -= 1
        place, after = 0, keys.size
        while after - place > 1:  # eastward edges are sorted by their keys
            middle = (place + after) // 2
            if keys[middle] <= above * padded.shape[1] + x:
                place = middle
            else:
                after = middle
        east = easts[place]
        for column in range(nodes.shape[1]):
            nodes[free, column] = nodes[east, column]
        for node, y, direction, following in (
            (free + 1, below, SOUTH, nodes[top, NEXT]),
            (free + 2, below + 1, NORTH, free),
        ):
            nodes[node, CORNER_X], nodes[node, CORNER_Y], nodes[node, DIRECTION] = x, y, direction
            nodes[node, X], nodes[node, Y], nodes[node, NEXT] = x, below, following
        nodes[east, DIRECTION], nodes[east, NEXT] = SOUTH, free + 1
        nodes[top, NEXT] = free + 2
        easts[place] = free
        free += 3


@compiled()
def _corners(nodes: np.ndarray, first: int, points: np.ndarray, end: int) -> int:
    """Write the corners at which a ring turns."""
    node = first
    while True:
        following = nodes[node, NEXT]
        if nodes[following, DIRECTION] != nodes[node, DIRECTION]:
            points[end, 0], points[end, 1] = nodes[following, CORNER_X], nodes[following, CORNER_Y]
            end += 1
        node = following
        if node == first:
            return end


@compiled()
def _centres(nodes: np.ndarray, first: int, points: np.ndarray, end: int) -> int:
    """Write the pixels at which a ring through them turns; at least one."""
    start, end, node = end, _step(points, end, end, nodes[first, X], nodes[first, Y]), nodes[first, NEXT]
    while node != first:
        end = _step(points, start, end, nodes[node, X], nodes[node, Y])
        node = nodes[node, NEXT]
    end = _step(points, start, end, points[start, 0], points[start, 1])
    if end > start + 1 and points[start, 0] == points[end - 1, 0] and points[start, 1] == points[end - 1, 1]:
        end -= 1
    count = end - start
    if count < 3:
        return end
    ring = points[start:end].copy()
    end = start
    for number in range(count):
        before, after = (number - 1) % count, (number + 1) % count
        x, y = ring[number, 0], ring[number, 1]
        if _way(x - ring[before, 0], y - ring[before, 1]) != _way(ring[after, 0] - x, ring[after, 1] - y):
            points[end, 0], points[end, 1] = x, y
            end += 1
    return end


@compiled()
def _step(points: np.ndarray, start: int, end: int, x: int, y: int) -> int:
    """Write a pixel if it is another, after the one between where that is across a corner.

    A ring goes across a corner only where it turns left, around a pixel of the mask. Without that pixel, readers that
    put points of their own between two others would leave the mask.
    """
    if end > start:
        right, down = x - points[end - 1, 0], y - points[end - 1, 1]
        if right == 0 and down == 0:
            return end
        if right != 0 and down != 0:
            along_row = right * down < 0
            points[end, 0] = x if along_row else points[end - 1, 0]
            points[end, 1] = points[end - 1, 1] if along_row else y
            end += 1
    points[end, 0], points[end, 1] = x, y
    return end + 1


@compiled()
def _way(across: int, down: int) -> int:
    """Which of nine ways a step goes."""
    return 3 * ((across > 0) - (across < 0)) + (down > 0) - (down < 0)
