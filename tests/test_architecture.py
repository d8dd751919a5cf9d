"""Who may import whom: app -> model_core <- training, and the order inside model_core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What no module of a package may import, as the first part of a dotted name.
FORBIDDEN = {
    "model_core": {
        *("app", "training"),
        *("fastapi", "httpx", "multipart", "pydantic", "pydantic_settings", "starlette", "uvicorn"),
        *("cv2", "rich", "skimage", "stlpips_pytorch", "tensorboard", "torchvision"),
    },
    "app": {"training", "cv2", "rich", "skimage", "stlpips_pytorch", "tensorboard", "torchvision"},
    "training": {"app", "fastapi", "starlette", "uvicorn"},
}

# What each part of model_core may import of model_core: only parts before it.
ORDER = [
    "errors",
    "allocator",
    "fork_server",
    "mailbox",
    "config",
    "networks",
    "checkpoint",
    "devices",
    "pictures",
    "geometry",
    "detail",
    "predictor",
    "worker",
    "inpainter",
    "__main__",
]
INDEPENDENT = {"allocator", "fork_server", "mailbox", "devices", "pictures", "geometry"}


def imported_modules(source: str, package: str = "") -> Iterator[str]:
    """The dotted names of all modules that a source imports, wherever the statement stands.

    `from a import b` yields "a.b" (b may be a module); relative imports are resolved from `package`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden_imports(source: str, package: str) -> list[str]:
    top = package.split(".")[0]
    return [name for name in imported_modules(source, package) if name.split(".")[0] in FORBIDDEN[top]]


def imports_against_the_order(source: str, part: str) -> list[str]:
    """The model_core imports of one of model_core's parts that lie at or after it, or beside it."""
    allowed = set(ORDER[: ORDER.index(part)]) | {part}
    if part in INDEPENDENT:
        allowed = {"errors", part}
    names = [name.split(".") for name in imported_modules(source, "model_core")]
    own = [name for name in names if name[0] == "model_core"]
    return [".".join(name) for name in own if len(name) < 2 or name[1] not in allowed]


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_they_may(package: str):
    """app -> model_core <- training; model_core knows no web package and nothing of training's extras."""
    assert sources(package)
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in sources(package)
        if (wrong := forbidden_imports(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts)))
    }

    assert found == {}


def test_every_part_of_model_core_has_a_place_in_the_order():
    """A new module must be given its place."""
    parts = {path.stem if path.is_file() else path.name for path in (ROOT / "model_core").iterdir()}

    assert parts - {"__init__", "__pycache__", "weights"} == set(ORDER)


@pytest.mark.parametrize("part", ORDER)
def test_model_core_is_built_in_one_direction(part: str):
    """Errors, config <- networks <- checkpoint, predictor <- inpainter; the independent ones stand apart."""
    paths = sorted((ROOT / "model_core" / part).rglob("*.py")) or [ROOT / "model_core" / f"{part}.py"]

    for path in paths:
        assert imports_against_the_order(path.read_text(), part) == [], path


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("app", "import training"),
        ("app", "from training.masks import draw"),
        ("app", "def late():\n    import training.loop as loop"),
        ("app.pages", "from ..training import masks\nimport training"),
        ("model_core", "import torchvision.transforms.v2"),
        ("model_core", "from fastapi import FastAPI"),
        ("model_core.networks", "import app.settings"),
        ("training", "import app"),
    ],
)
def test_the_rule_notices_a_wrong_import(package: str, source: str):
    """The check above fails for each of these sources."""
    assert forbidden_imports(source, package)


@pytest.mark.parametrize(
    ("part", "source", "wrong"),
    [
        ("networks", "from model_core.checkpoint import load_checkpoint", True),
        ("networks", "from model_core import checkpoint", True),
        ("networks", "from . import inpainter", True),
        ("geometry", "from model_core.pictures import upright", True),
        ("errors", "import model_core", True),
        ("checkpoint", "from model_core.networks.blocks import Residual", False),
        ("inpainter", "from model_core import geometry\nimport torch", False),
    ],
)
def test_the_order_notices_a_wrong_import(part: str, source: str, wrong: bool):
    """Later parts are refused in every spelling, earlier ones are not."""
    assert bool(imports_against_the_order(source, part)) is wrong
