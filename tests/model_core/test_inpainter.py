import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from model_core.checkpoint import load_checkpoint
from model_core.errors import (
    DeviceError,
    InferenceError,
    NothingKnownError,
    PictureModeError,
    SizeMismatchError,
)
from model_core.inpainter import UNSAVED, Inpainter
from model_core.networks import Generator

CPU = torch.device("cpu")
MODES = ["RGB", "RGBX", "RGBA", "L", "LA", "I;16", "I;16B", "I", "1", "CMYK"]


def noise(mode: str, height: int, width: int, seed: int = 0) -> Image.Image:
    """Noise in every band of the mode, over its whole range."""
    rng = np.random.default_rng(seed)
    if mode == "1":
        return Image.fromarray(rng.random((height, width)) > 0.5)
    if mode.startswith("I"):
        dtype = {"I": np.int32, "I;16": np.uint16, "I;16B": ">u2"}[mode]
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(dtype))
    bands = [
        Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
        for _ in Image.new(mode, (1, 1)).getbands()
    ]
    return Image.merge(mode, bands)


def square(height: int, width: int) -> np.ndarray:
    hole = np.zeros((height, width), dtype=bool)
    hole[height // 4 : height // 4 + max(1, height // 2), width // 4 : width // 4 + max(1, width // 2)] = True
    return hole


def one_pixel(height: int, width: int) -> np.ndarray:
    hole = np.zeros((height, width), dtype=bool)
    hole[height // 2, width // 2] = True
    return hole


def scratches(height: int, width: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows + 2 * columns) % 29 < 2


def half(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.arange(width) < width // 2, (height, width)).copy()


def all_but_a_border(height: int, width: int) -> np.ndarray:
    hole = np.zeros((height, width), dtype=bool)
    hole[1:-1, 1:-1] = True
    return hole


def all_but_a_corner(height: int, width: int) -> np.ndarray:
    hole = np.ones((height, width), dtype=bool)
    hole[-1, -1] = False
    return hole


HOLES = [square, one_pixel, scratches, half, all_but_a_border, all_but_a_corner]


class TestFilling:
    @pytest.mark.parametrize("mode", MODES)
    def test_known_pixels_are_bit_equal_and_the_hole_is_filled(self, inpainter: Inpainter, mode: str):
        """In every mode the result has the same size and mode, and differs inside the hole only."""
        image, hole = noise(mode, 70, 90), square(70, 90)

        result = inpainter.inpaint(image, hole)

        before, after = np.asarray(image), np.asarray(result)
        assert (result.size, result.mode) == (image.size, image.mode)
        np.testing.assert_array_equal(after[~hole], before[~hole])
        assert (after[hole] != before[hole]).any()

    @pytest.mark.parametrize("mode", ["RGBX", "RGBA", "LA"])
    def test_alpha_stays_also_in_the_hole(self, inpainter: Inpainter, mode: str):
        """Only colours are filled."""
        image = noise(mode, 40, 50)

        result = inpainter.inpaint(image, square(40, 50))

        assert result.getchannel(-1 + len(mode)).tobytes() == image.getchannel(-1 + len(mode)).tobytes()

    @pytest.mark.parametrize(("transparency", "mode"), [(None, "RGB"), (3, "RGBA")])
    def test_a_palette_gets_room_for_new_colours(
        self, inpainter: Inpainter, transparency: int | None, mode: str
    ):
        """A palette picture comes back in RGB or RGBA with the same colours outside the hole."""
        image = noise("RGB", 40, 50).quantize(16)
        if transparency is not None:
            image.info["transparency"] = transparency
        hole = square(40, 50)

        result = inpainter.inpaint(image, hole)

        assert result.mode == mode
        np.testing.assert_array_equal(np.asarray(result)[~hole], np.asarray(image.convert(mode))[~hole])

    @pytest.mark.parametrize("size", [(1, 2), (2, 1), (3, 5), (31, 33), (1, 300), (64, 64), (200, 96)])
    @pytest.mark.parametrize("make_hole", HOLES)
    def test_any_size_and_any_hole(self, inpainter: Inpainter, size: tuple[int, int], make_hole):
        """From two pixels up, whatever the hole's shape, known pixels stay and the size is the image's."""
        image, hole = noise("RGB", *size), make_hole(*size)
        hole[-1, -1] = False

        result = inpainter.inpaint(image, hole)

        assert result.size == image.size
        np.testing.assert_array_equal(np.asarray(result)[~hole], np.asarray(image)[~hole])

    @pytest.mark.parametrize("make_hole", HOLES)
    def test_pictures_beyond_the_working_size(self, tiny_generator: Generator, make_hole):
        """Crops that are shrunk for the generator keep every known pixel at full resolution."""
        inpainter = Inpainter(tiny_generator, [CPU], torch.float32, working_size=96)
        image, hole = noise("RGB", 520, 610), make_hole(520, 610)

        after = np.asarray(inpainter.inpaint(image, hole))

        np.testing.assert_array_equal(after[~hole], np.asarray(image)[~hole])
        assert (after[hole] != np.asarray(image)[hole]).any()

    def test_what_is_filled_at_a_reduced_size_is_as_sharp_as_the_picture(self, tiny_generator: Generator):
        """A large hole in a large picture of fine grain has grain too, and no other colour."""
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(96, 160, (640, 640, 3), dtype=np.uint8))
        hole = np.zeros((640, 640), dtype=bool)
        hole[160:480, 160:480] = True

        def detail(working_size: int) -> float:
            inpainter = Inpainter(tiny_generator, [CPU], torch.float32, working_size=working_size)
            fill = np.asarray(inpainter.inpaint(image, hole))[200:440, 200:440].astype(int)
            assert 96 <= fill.mean() < 160
            return float(np.abs(np.diff(fill, axis=1)).mean())

        grain = float(np.abs(np.diff(np.asarray(image)[:160].astype(int), axis=1)).mean())
        assert detail(160) > 0.8 * grain

    @pytest.mark.parametrize("mode", MODES)
    def test_an_empty_hole_returns_the_picture(self, inpainter: Inpainter, mode: str):
        """Nothing to fill: the same pixels, in a new picture."""
        image = noise(mode, 20, 30)

        result = inpainter.inpaint(image, np.zeros((20, 30), dtype=bool))

        assert result is not image
        assert (result.mode, result.tobytes()) == (image.mode, image.tobytes())

    def test_true_is_the_hole(self, inpainter: Inpainter):
        """Polarity: True is filled, False is kept; the opposite hole changes the opposite pixels."""
        image, hole = noise("RGB", 64, 64), half(64, 64)
        before = np.asarray(image)

        changed = (np.asarray(inpainter.inpaint(image, hole)) != before).any(axis=-1)
        opposite = (np.asarray(inpainter.inpaint(image, ~hole)) != before).any(axis=-1)

        assert not (changed & ~hole).any()
        assert changed[hole].mean() > 0.9
        assert not (opposite & hole).any()
        assert opposite[~hole].mean() > 0.9

    @pytest.mark.parametrize(
        ("mode", "size"), [("RGB", (50, 60)), ("I;16", (50, 60)), ("CMYK", (50, 60)), ("RGB", (600, 530))]
    )
    def test_what_lies_in_the_hole_does_not_matter(
        self, inpainter: Inpainter, mode: str, size: tuple[int, int]
    ):
        """The damaged pixels' own values never reach the fill."""
        hole = square(*size)
        clean = noise(mode, *size)
        damaged = clean.copy()
        damaged.paste(Image.new(mode, clean.size), (0, 0), Image.fromarray(hole))

        assert np.array_equal(np.asarray(damaged)[~hole], np.asarray(clean)[~hole])
        assert inpainter.inpaint(damaged, hole).tobytes() == inpainter.inpaint(clean, hole).tobytes()

    def test_the_given_picture_and_hole_stay(self, inpainter: Inpainter):
        """Inputs are never written to."""
        image, hole = noise("RGB", 600, 530), square(600, 530)
        pixels, mask = image.tobytes(), hole.copy()

        inpainter.inpaint(image, hole)

        assert image.tobytes() == pixels
        np.testing.assert_array_equal(hole, mask)

    def test_profile_and_exif_are_carried_over(self, inpainter: Inpainter):
        """What belongs to the picture as a whole is on the result."""
        image = noise("RGB", 20, 20)
        image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[0x010F] = "camera"
        image.info["exif"] = exif.tobytes()

        assert inpainter.inpaint(image, square(20, 20)).info == image.info

    def test_a_native_picture_is_seen_whole_and_once(self, tiny_generator: Generator):
        """At 512 x 512 the fill is the generator's own output at that size, rounded to 8 bits."""
        image, hole = noise("RGB", 512, 512), scratches(512, 512)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            mask = torch.from_numpy(hole)[None, None].float()
            prediction = tiny_generator(tensor, mask).prediction[0].permute(1, 2, 0).clamp(-1, 1)
        expected = ((prediction + 1) * 127.5).round().byte().numpy()

        result = np.asarray(Inpainter(tiny_generator, [CPU], torch.float32).inpaint(image, hole))

        assert np.abs(result[hole].astype(int) - expected[hole]).max() <= 1

    def test_later_regions_see_earlier_fills(self, tiny_checkpoint: Path):
        """A long thin hole is filled piece by piece, and each piece counts as known for the next."""
        generator = load_checkpoint(tiny_checkpoint).generator
        masks: list[torch.Tensor] = []
        generator.register_forward_pre_hook(lambda module, inputs: masks.append(inputs[1]))
        hole = np.zeros((100, 900), dtype=bool)
        hole[50:60, 10:890] = True

        Inpainter(generator, [CPU], torch.float32).inpaint(noise("RGB", 100, 900), hole)

        first, *later = [bool(mask[0, 0, 55, 1]) for mask in masks]
        assert len(later) >= 3
        assert [first, *later] == [False] * len(masks)

    def test_kernels_are_prepared(self, tiny_checkpoint: Path):
        """For windows of each size that pictures of up to 512 x 512 have."""
        generator = load_checkpoint(tiny_checkpoint).generator
        sizes: list[tuple[int, ...]] = []
        generator.refinement.register_forward_pre_hook(
            lambda module, inputs: sizes.append(tuple(inputs[0].shape[-2:]))
        )

        Inpainter(generator, [CPU], torch.float32).prepare()

        assert len(set(sizes)) == 16
        assert max(sizes) == (512, 512)


class TestRefusals:
    @pytest.mark.parametrize("size", [(1, 1), (20, 30), (700, 600)])
    def test_a_mask_over_everything(self, inpainter: Inpainter, size: tuple[int, int]):
        """The message gives the number of pixels and the size."""
        with pytest.raises(
            NothingKnownError, match=f"{size[0] * size[1]} pixels of the {size[0]} x {size[1]} image"
        ):
            inpainter.inpaint(noise("RGB", *size), np.ones(size, dtype=bool))

    def test_sizes_that_differ(self, inpainter: Inpainter):
        """A transposed mask is refused, with both sizes in the message."""
        with pytest.raises(SizeMismatchError, match="mask is 30 x 20 but image is 20 x 30"):
            inpainter.inpaint(noise("RGB", 20, 30), np.zeros((30, 20), dtype=bool))

    def test_a_mode_without_a_conversion(self, inpainter: Inpainter):
        """An unknown mode is refused also where there is nothing to fill."""
        with pytest.raises(PictureModeError, match="mode F"):
            inpainter.inpaint(Image.new("F", (30, 20)), np.zeros((20, 30), dtype=bool))

    def test_values_that_are_not_finite(self, tiny_checkpoint: Path):
        """A generator that diverges gives an error, not a grey hole; warm_up finds it."""
        generator = load_checkpoint(tiny_checkpoint).generator
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.fill_(torch.nan)

        with pytest.raises(InferenceError, match=r"64 x 64 crop .* in fp32"):
            Inpainter(generator, [CPU], torch.float32).warm_up()


class TestFromCheckpoint:
    def test_attributes_are_the_checkpoints(self, tiny_checkpoint: Path):
        """What the service reports comes from the file."""
        loaded = load_checkpoint(tiny_checkpoint)

        inpainter = Inpainter.from_checkpoint(tiny_checkpoint, device="cpu", precision="fp32")

        assert (inpainter.info, inpainter.sha256) == (loaded.info, loaded.sha256)
        assert inpainter.parameters == loaded.parameters
        assert (inpainter.device_names, inpainter.precision_name) == ("cpu", "fp32")

    @pytest.mark.parametrize("precision", ["auto", "int8", "bf16", "fp32"])
    def test_every_precision_fills(
        self, tiny_checkpoint: Path, precision: str, require_native: Callable[[str], None]
    ):
        """Each precision of the CPU fills the hole and keeps what is known."""
        image, hole = noise("RGB", 64, 80), square(64, 80)
        if precision == "int8":
            require_native(precision)
        inpainter = Inpainter.from_checkpoint(tiny_checkpoint, "cpu", precision)
        inpainter.warm_up()

        result = np.asarray(inpainter.inpaint(image, hole))

        np.testing.assert_array_equal(result[~hole], np.asarray(image)[~hole])
        assert (result[hole] != np.asarray(image)[hole]).any()

    def test_threads_are_set_for_the_process(self, tiny_checkpoint: Path):
        """The number of CPU threads is the caller's, where it is given."""
        before = torch.get_num_threads()
        try:
            Inpainter.from_checkpoint(tiny_checkpoint, "cpu", "fp32", threads=before + 1)
            assert torch.get_num_threads() == before + 1
        finally:
            torch.set_num_threads(before)

    def test_a_device_that_is_not_there(self, tiny_checkpoint: Path):
        """The refusal comes before anything is loaded."""
        with pytest.raises(DeviceError, match="cuda:77"):
            Inpainter.from_checkpoint(tiny_checkpoint, device="cuda:77")

    def test_a_bare_generator_is_copied(self, tiny_generator: Generator):
        """Casting happens on a copy: a generator in training keeps its precision, and knows no checkpoint."""
        inpainter = Inpainter(tiny_generator, [CPU], torch.bfloat16)

        assert (inpainter.info, inpainter.sha256) == (UNSAVED, "")
        assert {parameter.dtype for parameter in tiny_generator.parameters()} == {torch.float32}
        assert all(parameter.requires_grad for parameter in tiny_generator.parameters())


def test_threads_share_an_inpainter(inpainter: Inpainter):
    """Eight pictures filled at the same time give what they give one after another."""
    sizes = [(40 + 20 * index, 200 - 20 * index) for index in range(8)]
    images = [noise("RGB", *size, seed=index) for index, size in enumerate(sizes)]
    holes = [HOLES[index % len(HOLES)](*size) for index, size in enumerate(sizes)]
    serial = [inpainter.inpaint(image, hole).tobytes() for image, hole in zip(images, holes, strict=True)]
    together = threading.Barrier(8)

    def fill(index: int) -> list[bytes]:
        together.wait()
        return [inpainter.inpaint(images[index], holes[index]).tobytes() for _ in range(2)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(fill, range(8)))

    assert results == [[expected] * 2 for expected in serial]
