import itertools

import numpy as np
import pytest

from model_core import geometry
from model_core.geometry import Box, plan_regions


def empty(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width), dtype=bool)


def disc(hole: np.ndarray, y: int, x: int, radius: int) -> None:
    rows, columns = np.ogrid[: hole.shape[0], : hole.shape[1]]
    hole |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def one_pixel() -> np.ndarray:
    hole = empty(2000, 3000)
    hole[1234, 2345] = True
    return hole


def corners() -> np.ndarray:
    hole = empty(2000, 3000)
    hole[0, 0] = hole[-1, -1] = hole[0, -1] = hole[-1, 0] = True
    return hole


def scratches() -> np.ndarray:
    hole = empty(1500, 2000)
    for offset in range(-1500, 2000, 170):
        for y in range(1500):
            hole[y, max(0, min(y + offset, 2000)) : max(0, min(y + offset + 3, 2000))] = True
    return hole


def dust() -> np.ndarray:
    hole = empty(3000, 4000)
    hole.flat[np.random.default_rng(0).integers(0, hole.size, 3000)] = True
    return hole


def line_of_text() -> np.ndarray:
    hole = empty(2000, 3000)
    hole[900:960, 100:2900] = True
    return hole


def half() -> np.ndarray:
    hole = empty(1000, 1400)
    hole[:, :700] = True
    return hole


def all_but_a_border() -> np.ndarray:
    hole = empty(1000, 1400)
    hole[1:-1, 1:-1] = True
    return hole


def two_discs() -> np.ndarray:
    hole = empty(2000, 3000)
    disc(hole, 400, 500, 40)
    disc(hole, 1500, 2500, 300)
    return hole


def odd_size() -> np.ndarray:
    hole = empty(777, 1013)
    hole[-5:, :] = True
    hole[:, -3:] = True
    return hole


HOLES = [one_pixel, corners, scratches, dust, line_of_text, half, all_but_a_border, two_discs, odd_size]


class TestPlanRegions:
    def test_no_hole_no_regions(self):
        """Nothing to fill, nothing to do."""
        assert plan_regions(empty(3000, 4000)) == []

    @pytest.mark.parametrize("size", [(512, 512), (1, 2), (31, 33), (512, 7)])
    def test_a_picture_of_native_size_is_one_region(self, size: tuple[int, int]):
        """Up to 512 pixels the generator sees the whole picture, as it is."""
        hole = empty(*size)
        hole[0, 0] = True
        whole = Box(0, 0, *size)

        assert plan_regions(hole) == [geometry.Region(core=whole, crop=whole)]

    @pytest.mark.parametrize("make_hole", HOLES)
    def test_cores_cover_the_hole_once(self, make_hole):
        """Every hole pixel lies in exactly one core."""
        hole = make_hole()
        covered = np.zeros(hole.shape, dtype=int)

        for region in plan_regions(hole):
            covered[region.core.slices] += 1

        assert covered[hole].min() == covered[hole].max() == 1
        assert covered.max() == 1

    @pytest.mark.parametrize("make_hole", HOLES)
    def test_crops_show_the_surroundings(self, make_hole):
        """A crop lies in the picture and is wider than its core by the margin, or reaches the ends."""
        hole = make_hole()

        for core, crop in plan_regions(hole):
            for axis, full in enumerate(hole.shape):
                start, end = core[axis], core[axis + 2]
                margin = max(64, (end - start) // 2)
                assert 0 <= crop[axis] <= max(0, start - margin)
                assert min(full, end + margin) <= crop[axis + 2] <= full
                assert crop[axis + 2] - crop[axis] >= min(full, geometry.MIN_CROP)

    @pytest.mark.parametrize("make_hole", HOLES)
    def test_crops_have_few_sizes(self, make_hole):
        """Kernels are prepared for each size anew: sides are multiples of 64, or the picture's."""
        hole = make_hole()
        for region in plan_regions(hole):
            assert all(
                side % 64 == 0 or side == full
                for side, full in zip(region.crop.size, hole.shape, strict=True)
            )

    @pytest.mark.parametrize("make_hole", HOLES)
    def test_regions_are_few(self, make_hole):
        """However many holes there are, the number of passes is bounded."""
        assert 1 <= len(plan_regions(make_hole())) <= geometry.MAX_REGIONS

    def test_a_small_hole_costs_a_small_crop(self):
        """The crop depends on the hole, not on the photograph."""
        (region,) = plan_regions(one_pixel())

        assert max(region.crop.size) <= 256 + geometry.CELL

    def test_distant_holes_are_separate(self):
        """Four corners of a photograph are four small crops."""
        assert sorted(max(region.crop.size) <= 264 for region in plan_regions(corners())) == [True] * 4

    def test_a_thick_hole_is_not_cut(self):
        """A disc wider than a core is one region, beside the small one's own."""
        sizes = sorted(max(region.core.size) for region in plan_regions(two_discs()))

        assert len(sizes) == 2
        assert 600 <= sizes[1] <= 600 + 2 * geometry.CELL

    def test_a_line_of_text_is_cut_into_native_crops(self):
        """A long thin hole is seen at full resolution, piece by piece."""
        regions = plan_regions(line_of_text())

        assert len(regions) > 1
        assert all(max(region.crop.size) <= geometry.NATIVE_SIZE for region in regions)


class TestBox:
    def test_size_slices_and_corners(self):
        """A box is rows by columns; Pillow wants left before upper."""
        box = Box(top=1, left=2, bottom=5, right=9)

        assert box.size == (4, 7)
        assert np.zeros((10, 10))[box.slices].shape == (4, 7)
        assert box.corners == (2, 1, 9, 5)

    def test_inside(self):
        """A core in the coordinates of its crop."""
        assert Box(10, 20, 30, 40).inside(Box(5, 15, 50, 50)) == Box(5, 5, 25, 25)

    @pytest.mark.parametrize("rows", [1, 3, 4, 100])
    def test_bands_tile_the_box(self, rows: int):
        """Bands follow each other without gaps and are never larger than asked for."""
        box = Box(2, 1, 10, 4)
        parts = geometry.bands(box, rows)

        assert (parts[0].top, parts[-1].bottom) == (2, 10)
        assert all(first.bottom == second.top for first, second in itertools.pairwise(parts))
        assert all(part.size[0] <= rows and part.size[1] == 3 for part in parts)


class TestWorkingSize:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((512, 512), (512, 512)),
            ((768, 100), (768, 100)),
            ((1536, 768), (768, 384)),
            ((6000, 4000), (768, 512)),
            ((1, 100_000), (1, 768)),
        ],
    )
    def test_shrinks_in_proportion_and_never_enlarges(self, size: tuple[int, int], expected: tuple[int, int]):
        """The long side is bounded, and no side vanishes."""
        assert geometry.working_size(size, 768) == expected


class TestPadding:
    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (31, 33), (32, 64)])
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_multiples_and_back(self, size: tuple[int, int], channels: tuple[int, ...]):
        """Both sides become multiples, the picture stays at the top left, only mirrored values are added."""
        array = np.random.default_rng(0).random((*size, *channels)).astype(np.float32)

        padded = geometry.pad_to_multiple(array, 32)

        assert [side % 32 for side in padded.shape[:2]] == [0, 0]
        assert padded.shape[0] - size[0] < 32
        assert padded.dtype == array.dtype
        np.testing.assert_array_equal(padded[: size[0], : size[1]], array)
        assert set(padded.ravel()) == set(array.ravel())

    @pytest.mark.parametrize("size", [(1, 7), (3, 5), (31, 33), (32, 64)])
    def test_a_padded_pixel_is_found_in_the_picture(self, size: tuple[int, int]):
        """Each row and column of the padded picture leads to the one that it mirrors, however small."""
        array = np.arange(size[0] * size[1]).reshape(size)
        padded = geometry.pad_to_multiple(array, 32)

        rows = geometry.unpad_indices(np.arange(padded.shape[0]), size[0])
        columns = geometry.unpad_indices(np.arange(padded.shape[1]), size[1])

        np.testing.assert_array_equal(array[np.ix_(rows, columns)], padded)


class TestShrinkAndEnlarge:
    def test_average_of_known_pixels(self):
        """Without a hole, each small pixel is the mean of those that it stands for."""
        picture = np.random.default_rng(0).random((12, 20, 3)).astype(np.float32)

        small, hole = geometry.shrink_known(lambda top, bottom: picture[top:bottom], empty(12, 20), (3, 5))

        np.testing.assert_allclose(small, picture.reshape(3, 4, 5, 4, 3).mean(axis=(1, 3)), rtol=1e-5)
        assert not hole.any()

    @pytest.mark.parametrize(
        ("size", "small_size"), [((100, 130), (77, 100)), ((101, 64), (33, 21)), ((50, 50), (49, 50))]
    )
    def test_a_pixel_belongs_to_the_cell_that_it_was_averaged_into(
        self, size: geometry.Size, small_size: geometry.Size
    ):
        """Also where sizes are no multiples: the hole's pixels are never looked up in a known cell."""
        picture = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
        hole = empty(*size)
        hole[31:70, 11:47] = True

        _, small_hole = geometry.shrink_known(lambda top, bottom: picture[top:bottom], hole, small_size)

        rows, columns = hole.nonzero()
        cells = (
            geometry.cells_of(rows, size[0], small_size[0]),
            geometry.cells_of(columns, size[1], small_size[1]),
        )
        assert small_hole[cells].all()

    def test_nothing_bleeds_out_of_the_hole(self):
        """What lies in the hole changes nothing, and every pixel that it touches is hole."""
        hole = empty(100, 70)
        hole[40:63, 20:31] = True
        picture = np.full((100, 70, 3), 0.25, dtype=np.float32)
        picture[hole] = 1

        small, small_hole = geometry.shrink_known(lambda top, bottom: picture[top:bottom], hole, (10, 7))

        np.testing.assert_array_equal(small_hole, hole.reshape(10, 10, 7, 10).any(axis=(1, 3)))
        np.testing.assert_allclose(small[~small_hole], 0.25, rtol=1e-5)

    def test_uneven_scales_use_every_pixel(self):
        """When the sizes do not divide, each pixel still counts once: one hole pixel is one small hole."""
        for y, x in itertools.product(range(11), range(13)):
            hole = empty(11, 13)
            hole[y, x] = True

            _, small_hole = geometry.shrink_known(
                lambda top, bottom: np.zeros((bottom - top, 13, 3), dtype=np.float32), hole, (4, 5)
            )

            assert small_hole.sum() == 1

    def test_a_thin_border_stays_known(self):
        """When the hole touches every small pixel, those that hold a known pixel count as known."""
        hole = empty(100, 100)
        hole[1:-1, 1:-1] = True
        picture = np.full((100, 100, 3), 0.5, dtype=np.float32)

        small, small_hole = geometry.shrink_known(lambda top, bottom: picture[top:bottom], hole, (10, 10))

        assert small_hole[1:-1, 1:-1].all()
        assert not small_hole[0].any()
        np.testing.assert_allclose(small[~small_hole], 0.5)

    def test_equal_size_is_untouched(self):
        """At its own size the picture and the hole come back as they are."""
        picture = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
        hole = picture[..., 0] > 0.5

        small, small_hole = geometry.shrink_known(lambda top, bottom: picture[top:bottom], hole, (5, 6))

        np.testing.assert_array_equal(small, picture)
        np.testing.assert_array_equal(small_hole, hole)

    def test_bands_enlarge_as_the_whole(self):
        """Enlarging band by band gives what enlarging at once gives: no seams."""
        small = np.random.default_rng(0).random((8, 9, 3)).astype(np.float32)
        size = (37, 50)

        whole = geometry.enlarge(small, size, Box(0, 0, *size))
        parts = [geometry.enlarge(small, size, band) for band in geometry.bands(Box(0, 0, *size), 10)]

        assert whole.shape == (*size, 3)
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)

    def test_a_ramp_survives(self):
        """Shrinking and enlarging a smooth picture keeps it, in place and in value."""
        ramp = np.broadcast_to(np.linspace(0, 1, 120, dtype=np.float32)[None, :, None], (80, 120, 3))

        small, _ = geometry.shrink_known(lambda top, bottom: ramp[top:bottom], empty(80, 120), (20, 30))
        back = geometry.enlarge(small, (80, 120), Box(0, 0, 80, 120))

        np.testing.assert_allclose(back[:, 10:-10], ramp[:, 10:-10], atol=1e-3)
