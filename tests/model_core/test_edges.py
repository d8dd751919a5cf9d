"""Edges that reach into a hole go on there."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_core.networks import edges
from model_core.networks.edges import carry_edges
from model_core.networks.pyramid import Level

SIZE = 20


def level(picture: Tensor, hole: Tensor) -> Level:
    """A picture (3, h, w) of which `hole`, (h, w) bool, is not known."""
    known = (~hole).float()
    return Level((picture * known)[None], known[None, None])


def hole_in_the_middle() -> Tensor:
    hole = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    hole[5:15, 6:16] = True
    return hole


def halves(colour: float = 0.6) -> Tensor:
    """Above one colour, below another."""
    picture = torch.full((3, SIZE, SIZE), colour)
    picture[:, SIZE // 2 :] = -colour
    return picture


def test_an_edge_goes_on_where_the_guess_is_a_blur() -> None:
    truth, hole = halves(), hole_in_the_middle()
    blur = torch.linspace(0.6, -0.6, SIZE)[None, :, None].expand(3, SIZE, SIZE)
    guess = torch.where(hole, blur, truth)[None]
    carried = carry_edges(level(truth, hole), guess)
    was, now = ((picture - truth)[..., hole].abs().mean() for picture in (guess, carried))
    assert now < 0.8 * was
    middle, ends = SIZE // 2, [6, 15]
    step = carried[0, 0, middle - 1, ends] - carried[0, 0, middle, ends]
    assert (step > 2.5 * (blur[0, middle - 1, 0] - blur[0, middle, 0])).all()


def test_what_is_known_stays() -> None:
    picture = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = hole_in_the_middle()
    guess = torch.zeros(1, 3, SIZE, SIZE)
    carried = carry_edges(level(picture, hole), guess)
    assert carried[0, :, ~hole].equal(picture[:, ~hole])
    assert guess.equal(torch.zeros_like(guess))


def test_cells_that_are_known_in_part_count_from_a_quarter_on() -> None:
    picture, share = torch.full((3, 8, 8), 0.5), torch.ones(8, 8)
    share[3, 3], share[4, 5] = 0.24, 0.25
    carried = carry_edges(Level(picture[None], share[None, None]), torch.full((1, 3, 8, 8), -0.5))
    assert (carried[0, :, 3, 3] < 0.499).all()
    assert (carried[0, :, 4, 5] == 0.5).all()


@pytest.mark.parametrize("rows", [slice(0, SIZE), slice(0, 6), slice(15, SIZE)])
def test_plain_stays_plain_up_to_the_pictures_edge(rows: slice) -> None:
    """Also if there is nothing but hole."""
    hole = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    hole[rows] = True
    plain = torch.full((3, SIZE, SIZE), 0.3)
    torch.testing.assert_close(carry_edges(level(plain, hole), plain[None]), plain[None])


def gradients(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two matrices that make the gradients at all inner corners of a picture of its cells."""
    across, down = [], []
    for row in range(1, size):
        for column in range(1, size):
            one = np.zeros((2, size, size))
            one[0, row - 1 : row + 1, column], one[0, row - 1 : row + 1, column - 1] = 0.5, -0.5
            one[1, row, column - 1 : column + 1], one[1, row - 1, column - 1 : column + 1] = 0.5, -0.5
            across.append(one[0].ravel())
            down.append(one[1].ravel())
    return np.array(across), np.array(down)


def test_relaxing_finds_the_picture_of_least_energy() -> None:
    """Against the equations as they are written in the module, solved directly."""
    size, rng = 7, np.random.default_rng(0)
    inner = rng.normal(size=(size - 1, size - 1, 2, 2))
    inner = inner @ inner.transpose(0, 1, 3, 2) * 0.3 + np.eye(2) * 0.05
    tensors = np.zeros((size + 1, size + 1, 3), np.float32)
    tensors[1:-1, 1:-1] = np.stack([inner[..., 0, 0], inner[..., 0, 1], inner[..., 1, 1]], -1)
    across, down = gradients(size)
    weigh = [np.diag(tensors[1:-1, 1:-1, part].astype(np.float64).ravel()) for part in range(3)]
    matrix = across.T @ weigh[0] @ across + down.T @ weigh[2] @ down
    matrix += across.T @ weigh[1] @ down + down.T @ weigh[1] @ across
    beside = np.zeros_like(matrix)
    for cell in range(size * size):
        for other in [cell + 1] * (cell % size < size - 1) + [cell + size] * (cell < size * (size - 1)):
            beside[[cell, other], [cell, other]] += edges.ISOTROPIC
            beside[[cell, other], [other, cell]] -= edges.ISOTROPIC
    picture, guess = (rng.normal(size=(3, size, size)).astype(np.float32) for _ in range(2))
    hole = np.zeros((size, size), bool)
    hole[0:4, 2:6] = True  # up to the picture's edge
    cells, inside = np.argwhere(hole), hole.ravel()
    matrix = matrix + beside + np.diag(edges.FAITH * inside)
    right = edges.FAITH * guess.reshape(3, -1) - picture.reshape(3, -1) * ~inside @ matrix
    expected = np.linalg.solve(matrix[inside][:, inside], right[:, inside].T).T

    weights = np.empty((len(cells), 9), np.float32)
    edges._weigh(tensors, cells, weights)
    framed = np.zeros((3, size + 2, size + 2), np.float32)
    framed[:, 1:-1, 1:-1] = picture
    for _ in range(500):
        edges._relax(framed, guess, cells, weights)
    np.testing.assert_allclose(framed[:, 1:-1, 1:-1][:, hole], expected, atol=1e-4)


def test_tensors_let_pass_along_an_edge_and_not_across() -> None:
    picture = halves().numpy()
    tensors = np.zeros((SIZE + 1, SIZE + 1, 3), np.float32)
    edges._follow(picture, np.argwhere(hole_in_the_middle().numpy()), tensors)
    across, mixed, down = tensors[SIZE // 2, 10]
    assert across == pytest.approx(1, abs=1e-3)
    assert mixed == pytest.approx(0, abs=1e-3)
    assert 0 < down < 0.01
    assert tensors[SIZE // 2 + 3, 10] == pytest.approx([1, 0, 1], abs=1e-3)


@pytest.mark.parametrize(("falling", "mixed"), [(True, 0.5), (False, -0.5)])
def test_a_diagonal_edge_turns_the_tensor(falling: bool, mixed: float) -> None:
    """Along the main diagonal both directions go together, along the other one against each other."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    beside = rows > columns if falling else rows + columns > SIZE - 1
    picture = torch.where(beside, 0.6, -0.6).expand(3, SIZE, SIZE).contiguous().numpy()
    tensors = np.zeros((SIZE + 1, SIZE + 1, 3), np.float32)
    edges._follow(picture, np.argwhere(hole_in_the_middle().numpy()), tensors)
    assert tensors[SIZE // 2, SIZE // 2] == pytest.approx([0.5, mixed, 0.5], abs=0.01)


def test_the_range_is_kept() -> None:
    """A picture of least energy may leave it: here by a fifth."""
    source = torch.Generator().manual_seed(0)
    picture = torch.rand(3, SIZE, SIZE, generator=source).round() * 2 - 1
    hole = torch.rand(SIZE, SIZE, generator=source) < 0.7
    carried = carry_edges(level(picture, hole), picture[None] * 0.9)
    assert carried.abs().max() == 1


def test_holes_of_all_sizes_are_compiled_once() -> None:
    """A request with thin strokes, which leave no cell of the hole, does not wait for the compiler."""
    plain = torch.zeros(3, SIZE, SIZE)
    for cells in (0, 1, 20):
        hole = torch.zeros(SIZE * SIZE, dtype=torch.bool)
        hole[:cells] = True
        carry_edges(level(plain, hole.view(SIZE, SIZE)), plain[None])
    assert len(edges._smooth.signatures) == 1  # type: ignore[attr-defined]
