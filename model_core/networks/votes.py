"""What patches vote for: the colours that they would copy to the pixels that they cover. Masks: 1 = hole."""

import numpy as np
from numpy.typing import NDArray

from model_core.networks.compiled import Index, compiled

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@compiled
def vote(image: FloatArray, known: FloatArray, field: IntArray, voted: FloatArray) -> None:
    """Give each pixel of the hole the mean of what it and the eight around it would copy there.

    Args:
        image: (3, h, w).
        known: (h, w), 1 = known, else 0.
        field: (2, h, w), row and column of each pixel's source.
        voted: (3, h, w), written to where anything known would be copied.
    """
    height, width = known.shape
    # With a border around, a pixel and its source are given by one number each, whatever the neighbour.
    across = width + 2
    red, green, blue, weights = np.empty((4, (height + 2) * across), np.float32)
    shifts = np.empty((height + 2) * across, np.int32)
    for row in range(height + 2):
        inside_row = min(max(row - 1, 0), height - 1)
        for column in range(across):
            inside = min(max(column - 1, 0), width - 1)
            place, weight = Index(row * across + column), known[inside_row, inside]
            red[place] = weight * image[0, inside_row, inside]
            green[place] = weight * image[1, inside_row, inside]
            blue[place] = weight * image[2, inside_row, inside]
            weights[place] = weight
            down, right = field[0, inside_row, inside] - inside_row, field[1, inside_row, inside] - inside
            shifts[place] = down * across + right
    for row in range(height):
        for column in range(width):
            here = (row + 1) * across + column + 1
            if weights[Index(here)] > 0:
                continue
            count = reds = greens = blues = np.float32(0)
            for down in range(-1, 2):
                for right in range(-1, 2):
                    source = Index(here + shifts[Index(here + down * across + right)])
                    count += weights[source]
                    reds += red[source]
                    greens += green[source]
                    blues += blue[source]
            if count > 0:
                voted[0, row, column] = reds / count
                voted[1, row, column] = greens / count
                voted[2, row, column] = blues / count


@compiled
def vote_on_corrections(
    correction: FloatArray,
    hole: FloatArray,
    known: FloatArray,
    voted: FloatArray,
) -> None:
    """Add to each pixel of the hole the mean of the corrections that belong to the patches over it.

    Args:
        correction: (3, h/2, w/2), one for each block of 2x2 pixels.
        hole: (h/2, w/2), which blocks have one: 1, else 0.
        known: (h, w), 1 = known, else 0.
        voted: (3, h, w), added to.
    """
    height, width = known.shape
    for row in range(height):
        for column in range(width):
            if known[row, column] > 0:
                continue
            count = reds = greens = blues = np.float32(0)
            for down in range(-1, 2):
                block_row = min(max(row + down, 0), height - 1) // 2
                for right in range(-1, 2):
                    block_column = min(max(column + right, 0), width - 1) // 2
                    weight = hole[block_row, block_column]
                    count += weight
                    reds += weight * correction[0, block_row, block_column]
                    greens += weight * correction[1, block_row, block_column]
                    blues += weight * correction[2, block_row, block_column]
            # Pixels of the hole may lie in half-known blocks only, which have no correction.
            if count > 0:
                voted[0, row, column] += reds / count
                voted[1, row, column] += greens / count
                voted[2, row, column] += blues / count
