import io
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageCms

from model_core import pictures
from model_core.errors import PictureModeError, SizeMismatchError

ORIENTATION = 0x0112

# One colour or grey value of each mode, and the RGB that it stands for.
COLOURS = [
    ("RGB", (255, 51, 0), (1, 0.2, 0)),
    ("RGBX", (255, 51, 0, 7), (1, 0.2, 0)),
    ("RGBA", (255, 51, 0, 128), (1, 0.2, 0)),
    ("L", 51, (0.2, 0.2, 0.2)),
    ("LA", (51, 128), (0.2, 0.2, 0.2)),
    ("I;16", 13107, (0.2, 0.2, 0.2)),
    ("I;16B", 13107, (0.2, 0.2, 0.2)),
    ("I", 13107, (0.2, 0.2, 0.2)),
    ("1", 1, (1, 1, 1)),
    ("CMYK", (0, 0, 0, 0), (1, 1, 1)),
    ("CMYK", (0, 204, 255, 0), (1, 0.2, 0)),
    ("CMYK", (0, 0, 0, 204), (0.2, 0.2, 0.2)),
]


class TestColours:
    @pytest.mark.parametrize(("mode", "value", "rgb"), COLOURS)
    def test_reading(self, mode: str, value: int | tuple[int, ...], rgb: tuple[float, ...]):
        """Each mode's pixels become the RGB colour that they stand for, in [0, 1]."""
        image = Image.new(mode, (3, 2), value)

        found = pictures.codec_of(mode).to_rgb(pictures.pixels_of(image))

        assert found.shape == (2, 3, 3)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0, 0], rgb, atol=1e-6)

    @pytest.mark.parametrize(("mode", "value", "rgb"), COLOURS)
    def test_writing_what_was_read_changes_nothing(
        self, mode: str, value: int | tuple[int, ...], rgb: tuple[float, ...]
    ):
        """A colour of the mode survives the way through RGB, and alpha is not touched."""
        pixels = pictures.pixels_of(Image.new(mode, (3, 2), value))
        before = pixels.copy()

        pictures.put_colours(
            pixels,
            np.ones((2, 3), dtype=bool),
            np.full((6, 3), rgb, dtype=np.float32),
            pictures.codec_of(mode),
        )

        np.testing.assert_array_equal(pixels, before)

    @pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "CMYK"])
    def test_values_beyond_the_range_are_clipped(self, mode: str):
        """What a network overshoots becomes white or black, and does not wrap around."""
        codec = pictures.codec_of(mode)

        dark, light = codec.to_rgb(codec.from_rgb(np.array([[-0.5] * 3, [1.5] * 3], dtype=np.float32)))

        np.testing.assert_allclose(dark, 0, atol=1e-6)
        np.testing.assert_allclose(light, 1, atol=1e-6)

    def test_only_the_chosen_pixels_are_written(self):
        """Pixels outside `where` keep their values."""
        pixels = np.zeros((2, 2, 3), dtype=np.uint8)
        where = np.array([[False, True], [False, False]])

        pictures.put_colours(pixels, where, np.ones((1, 3), dtype=np.float32), pictures.codec_of("RGB"))

        assert pixels.any(axis=-1).tolist() == where.tolist()

    def test_grey_is_luma(self):
        """A fill's colours become grey as Pillow makes them grey."""
        rgb = np.random.default_rng(0).integers(0, 256, (50, 3), dtype=np.uint8)

        ours = pictures.codec_of("L").from_rgb(rgb.astype(np.float32) / 255)

        pillows = np.asarray(Image.fromarray(rgb[None]).convert("L"))[0]
        assert np.abs(ours.astype(int) - pillows).max() <= 1

    def test_16_bits_are_not_cut_to_8(self):
        """Neighbouring 16-bit values stay apart."""
        codec = pictures.codec_of("I;16")
        greys = np.arange(30000, 30010, dtype=np.uint16)

        assert codec.from_rgb(codec.to_rgb(greys)).tolist() == greys.tolist()


class TestPixels:
    @pytest.mark.parametrize("mode", ["RGB", "RGBX", "RGBA", "L", "LA", "I;16", "I;16B", "I", "1", "CMYK"])
    def test_pixels_and_back(self, mode: str):
        """`image_of` is the inverse of `pixels_of`, in every mode that can be filled."""
        rng = np.random.default_rng(0)
        image = Image.new(mode, (5, 4))
        for y in range(4):
            for x in range(5):
                value = tuple(int(v) for v in rng.integers(0, 256, len(image.getbands())))
                image.putpixel((x, y), value if len(value) > 1 else value[0])

        back = Image.new(mode, (5, 4))
        back.paste(pictures.image_of(pictures.pixels_of(image), mode), (0, 0))

        assert back.tobytes() == image.tobytes()

    @pytest.mark.parametrize("mode", ["F", "LAB", "HSV", "YCbCr", "RGBa", "La"])
    def test_modes_without_a_conversion_are_refused(self, mode: str):
        """The error names the mode and those that are accepted."""
        with pytest.raises(PictureModeError, match=rf"mode {mode} .*RGB.*CMYK"):
            pictures.fillable(Image.new(mode, (2, 2)))

    @pytest.mark.parametrize("value", [-1, 65536])
    def test_32_bit_values_are_refused(self, value: int):
        """Mode I is taken as 16-bit grey; other values have no known range."""
        with pytest.raises(PictureModeError, match=f"0..65535.*{value}"):
            pictures.fillable(Image.new("I", (2, 2), value))

    def test_a_palette_becomes_rgb(self):
        """The colours are the palette's."""
        image = Image.new("RGB", (4, 4), (200, 30, 90)).quantize(4)

        result = pictures.fillable(image)

        assert (image.mode, result.mode) == ("P", "RGB")
        assert result.getpixel((1, 1)) == (200, 30, 90)

    def test_a_transparent_palette_becomes_rgba(self):
        """Transparency of a palette entry becomes alpha."""
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        image.info["transparency"] = 1

        result = pictures.fillable(image)

        assert result.mode == "RGBA"
        assert [result.getpixel((x, 0)) for x in range(2)] == [(10, 20, 30, 255), (40, 50, 60, 0)]

    def test_the_given_picture_is_never_changed(self):
        """`fillable` returns a copy also where the mode stays."""
        image = Image.new("RGB", (2, 2))

        pictures.fillable(image).putpixel((0, 0), (1, 2, 3))

        assert image.getpixel((0, 0)) == (0, 0, 0)

    @pytest.mark.parametrize("shape", [(3, 2), (2, 3, 1), (2, 4)])
    def test_sizes_must_be_equal(self, shape: tuple[int, ...]):
        """The message gives both sizes, height first."""
        with pytest.raises(
            SizeMismatchError, match=f"mask is {' x '.join(map(str, shape))} but image is 2 x 3"
        ):
            pictures.require_same_size(Image.new("L", (3, 2)), np.zeros(shape, dtype=bool))


def jpeg_with_orientation(orientation: int) -> Image.Image:
    """A 24 x 16 picture, red at its top left, stored as a camera held in that orientation would store it."""
    image = Image.new("RGB", (24, 16))
    image.paste((255, 0, 0), (0, 0, 8, 8))
    # The inverse of what a viewer does for each value (EXIF 2.3, tag 0x0112).
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "camera"
    exif[0x0128] = 2
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=95)
    return Image.open(buffer)


class TestUpright:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation_is_turned(self, orientation: int):
        """Whatever the camera's position, the red corner is at the top left afterwards."""
        result = pictures.upright(jpeg_with_orientation(orientation))

        assert result.size == (24, 16)
        red, green, _ = result.getpixel((3, 3))
        assert red > 200
        assert green < 60

    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_the_tag_is_removed_and_the_others_stay(self, orientation: int):
        """A viewer of the result must not turn it again."""
        result = pictures.upright(jpeg_with_orientation(orientation))

        exif = Image.Exif()
        exif.load(result.info["exif"])
        assert ORIENTATION not in exif
        assert exif[0x010F] == "camera"

    def test_a_picture_without_exif_stays(self):
        """Without an orientation the pixels are as they were."""
        image = Image.effect_noise((5, 4), 50)

        assert pictures.upright(image).tobytes() == image.tobytes()

    def test_unreadable_exif_is_dropped(self):
        """Broken EXIF data do not stop a picture."""
        image = Image.effect_noise((5, 4), 50)
        image.info["exif"] = b"Exif\0\0garbage"

        result = pictures.upright(image)

        assert result.tobytes() == image.tobytes()
        assert "exif" not in result.info
        assert "exif" in image.info

    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_malformed_exif_still_turns(self, orientation: int):
        """A tag that cannot be written again does not keep the picture from being turned."""
        image = jpeg_with_orientation(orientation)
        # The unit of resolution, a short number, declared as text.
        exif = image.info["exif"].replace(b"\x01\x28\x00\x03", b"\x01\x28\x00\x02")
        assert exif != image.info["exif"]
        image.info["exif"] = exif

        result = pictures.upright(image)

        assert result.size == (24, 16)
        assert result.getpixel((3, 3))[0] > 200
        assert ORIENTATION not in result.getexif()

    def test_the_profile_stays(self):
        """Turning does not lose the ICC profile."""
        image = jpeg_with_orientation(6)
        image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

        assert pictures.upright(image).info["icc_profile"] == image.info["icc_profile"]


def grey_mask(mode: str, values: list[object]) -> Image.Image:
    mask = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        mask.putpixel((x, 0), value)
    return mask


MASKS = [
    ("L", [0, 127, 128, 255], [False, False, True, True]),
    ("1", [0, 255], [False, True]),
    ("RGB", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)], [False, True, False, True]),
    ("LA", [(255, 255), (0, 255)], [True, False]),
    ("I;16", [0, 32767, 32768, 65535], [False, False, True, True]),
    ("I", [0, 32767, 32768, 65535], [False, False, True, True]),
    ("CMYK", [(0, 0, 0, 0), (0, 0, 0, 255)], [True, False]),
    ("RGBA", [(255, 255, 255, 255), (0, 0, 0, 255)], [True, False]),
]


class TestHoleFromMask:
    @pytest.mark.parametrize(("mode", "values", "white"), MASKS)
    @pytest.mark.parametrize("polarity", ["white", "black"])
    def test_polarity_in_every_mode(
        self, mode: str, values: list[object], white: list[bool], polarity: Literal["white", "black"]
    ):
        """White is the hole, or with the other polarity everything that is not white."""
        hole = pictures.hole_from_mask(grey_mask(mode, values), polarity)

        assert hole.dtype == np.bool_
        assert hole.tolist() == [white if polarity == "white" else [not w for w in white]]

    @pytest.mark.parametrize("polarity", ["white", "black"])
    @pytest.mark.parametrize("colour", [(0, 0, 0, 0), (255, 255, 255, 0)])
    def test_transparent_parts_are_known(
        self, polarity: Literal["white", "black"], colour: tuple[int, int, int, int]
    ):
        """Where nothing was painted nothing is filled, whatever colour lies under the transparency."""
        assert not pictures.hole_from_mask(Image.new("RGBA", (2, 2), colour), polarity).any()

    def test_a_palette_is_read_by_its_colours(self):
        """Index 0 may be white: the index is not the brightness."""
        mask = Image.new("P", (2, 1))
        mask.putpalette([255, 255, 255, 0, 0, 0])
        mask.putpixel((1, 0), 1)

        assert pictures.hole_from_mask(mask).tolist() == [[True, False]]

    def test_rows_come_first(self):
        """A mask that is W x H in Pillow's order gives an (H, W) array."""
        assert pictures.hole_from_mask(Image.new("L", (7, 3))).shape == (3, 7)

    @pytest.mark.parametrize("mode", ["F", "LAB", "HSV", "La", "RGBa"])
    def test_modes_that_are_no_masks(self, mode: str):
        """The error names the mode."""
        with pytest.raises(PictureModeError, match=f"mode {mode} "):
            pictures.hole_from_mask(Image.new(mode, (2, 2)))

    @pytest.mark.parametrize("polarity", ["White", "", None])
    def test_unknown_polarity(self, polarity: Any) -> None:
        """A misspelt polarity must not quietly mean the other one."""
        with pytest.raises(ValueError, match=f"is {polarity!r}, expected 'white' or 'black'"):
            pictures.hole_from_mask(Image.new("L", (2, 2)), polarity)
