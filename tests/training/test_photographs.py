from pathlib import Path

import pytest
import torch
from PIL import Image

from training.errors import DataError
from training.photographs import decode, find_pictures, group_of, load_photographs, split


def save(path: Path, width: int = 80, height: int = 70) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((width, height), 60).convert("RGB").save(path)
    return path


def test_pictures_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    """Pictures of every suffix are found below the folder; other files are not pictures."""
    wanted = [save(tmp_path / "a.jpg"), save(tmp_path / "b" / "c" / "d.PNG"), save(tmp_path / "e.webp")]
    (tmp_path / "notes.txt").write_text("no picture")

    assert find_pictures(tmp_path) == wanted


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_pictures_is_refused(exists: bool, tmp_path: Path) -> None:
    """A folder that is empty or missing is refused by name."""
    folder = tmp_path / "nothing-here"
    if exists:
        folder.mkdir()

    with pytest.raises(DataError, match="nothing-here"):
        find_pictures(folder)


def test_bad_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    """Truncated, false and small pictures are left out, each with its reason."""
    good = save(tmp_path / "good.jpg")
    cut = save(tmp_path / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:1500])
    (tmp_path / "text.jpg").write_text("I am no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    save(tmp_path / "small.png", 80, 63)

    photographs = load_photographs(find_pictures(tmp_path), min_side=64, budget_bytes=1e9)

    assert photographs.paths == [good]
    assert {skipped.path.name: skipped.reason for skipped in photographs.skipped} == {
        "cut.jpg": "damaged",
        "empty.png": "not a picture",
        "small.png": "smaller than 64 pixels",
        "text.jpg": "not a picture",
    }
    assert (
        photographs.summary() == "1 pictures; skipped: 1 damaged, 2 not a picture, 1 smaller than 64 pixels"
    )


def test_folder_of_only_bad_pictures_is_refused(tmp_path: Path) -> None:
    """When nothing can be used, the error counts why."""
    (tmp_path / "text.jpg").write_text("I am no picture")

    with pytest.raises(DataError, match=r"none of the 1 pictures can be used .*1 not a picture"):
        load_photographs(find_pictures(tmp_path), min_side=64, budget_bytes=1e9)


def test_memory_budget_changes_nothing_but_memory(photographs_folder: Path) -> None:
    """Pictures that do not fit into memory are decoded when asked for, and are the same."""
    paths = find_pictures(photographs_folder)
    kept, half, none = (load_photographs(paths, 64, budget) for budget in (1e9, 24_000 * 12, 0))

    assert (kept.in_memory, none.in_memory) == (24, 0)
    assert 0 < half.in_memory < 24
    assert all(torch.equal(kept[i], none[i]) and torch.equal(kept[i], half[i]) for i in range(24))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    """Pictures of any mode are decoded to three channels."""
    path = tmp_path / "picture.tif"
    Image.effect_noise((20, 10), 60).convert("RGB").convert(mode).save(path)

    picture = decode(path)

    assert (picture.shape, picture.dtype) == ((3, 10, 20), torch.uint8)


def test_orientation_is_applied(tmp_path: Path) -> None:
    """A photograph taken with the camera turned is upright."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(path, exif=exif)

    assert decode(path).shape == (3, 20, 10)


def test_detail_crops_stay_with_their_picture() -> None:
    """house_c0.jpg is on the same side of the split as house.jpg, wherever the files lie."""
    names = [f"{stem}{end}.jpg" for stem in map(str, range(300)) for end in ("", "_c0", "_c12")]
    training, validation = split([Path("somewhere") / name for name in names], 0.2)

    assert {group_of(p) for p in training} & {group_of(p) for p in validation} == set()
    assert len(training) + len(validation) == 900
    assert 100 < len(validation) < 260


@pytest.mark.parametrize(("share", "kept_out"), [(0.0, 0), (1.0, 50)])
def test_split_reaches_both_ends(share: float, kept_out: int) -> None:
    """A share of 0 keeps nothing out, a share of 1 everything."""
    assert len(split([Path(f"{i}.jpg") for i in range(50)], share)[1]) == kept_out


def test_split_does_not_depend_on_the_folder_or_the_other_pictures() -> None:
    """A picture is kept out of training whichever folder it lies in, and whatever lies beside it."""
    paths = [Path(f"{i}.jpg") for i in range(100)]
    moved = [Path("elsewhere") / path for path in paths[::2]]

    validation = {path.name for path in split(paths, 0.3)[1]}
    assert {path.name for path in split(moved, 0.3)[1]} == validation & {path.name for path in moved}
