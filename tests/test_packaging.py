"""What the package declares, and what a built wheel holds."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from model_core.checkpoint import bundled_path

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "model_core", "training")
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_CHECKPOINT_BYTES = 20_000_000


def imported_modules(source: str) -> Iterator[str]:
    """The dotted names of what a source imports, its own package's relative imports left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def normalized(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_constraints_are_names_and_exact_versions():
    """One a line, in order, each once: no addresses, no hashes, no ranges."""
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []
    names = [normalized(line) for line in CONSTRAINTS]
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    "requirement",
    [*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"].values() for r in e)],
)
def test_direct_dependencies_are_constrained(requirement: str):
    """Whatever pyproject.toml asks for has its tested version."""
    assert normalized(requirement) in {normalized(line) for line in CONSTRAINTS}


def test_the_service_needs_none_of_the_extras():
    """The application is put together where nothing of training's and the tests' packages can be imported."""
    extras = [
        "axe_playwright_python",
        "cv2",
        "IPython",
        "rich",
        "skimage",
        "stlpips_pytorch",
        "tensorboard",
        "torchvision",
        "httpx",
        "openai",
        "playwright",
        "pytest",
        "requests",
    ]
    script = f"""
import sys
sys.modules.update(dict.fromkeys({extras}))
from app.main import create_app
print(sorted(create_app().openapi()["paths"]))
"""

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert "/inpaint" in done.stdout


@pytest.mark.parametrize(("package", "extras"), [("app", []), ("model_core", []), ("training", ["training"])])
def test_what_is_imported_is_declared(package: str, extras: list[str]):
    """A fresh installation brings every package that the sources import."""
    declared = {
        normalized(requirement)
        for group in [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
        for requirement in group
    }
    top_level = {
        name.split(".")[0]
        for path in (ROOT / package).rglob("*.py")
        for name in imported_modules(path.read_text())
    }
    foreign = top_level - sys.stdlib_module_names - set(PACKAGES)
    providers = packages_distributions()

    assert foreign
    undeclared = {name for name in foreign if declared.isdisjoint(map(normalized, providers.get(name, [])))}
    assert undeclared == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel built from a copy of the sources, so that nothing is written among them."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(output)], cwd=source, check=True, capture_output=True, timeout=120
    )
    with zipfile.ZipFile(next(output.glob("*.whl"))) as archive:
        yield archive


def test_a_wheel_holds_every_module(wheel: zipfile.ZipFile):
    """No package is forgotten in pyproject.toml."""
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}

    assert modules <= set(wheel.namelist())


def test_a_wheel_holds_the_page(wheel: zipfile.ZipFile):
    """An installed service serves the same files."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "app" / "page" / "static").iterdir()}

    assert "app/page/static/index.html" in files
    assert files <= set(wheel.namelist())


def test_a_wheel_holds_the_checkpoint_and_its_model_card(wheel: zipfile.ZipFile):
    """What an installed service loads by default comes with it, and is small enough to."""
    name = str(bundled_path().relative_to(ROOT))

    assert 0 < wheel.getinfo(name).file_size <= MAX_CHECKPOINT_BYTES
    assert [member for member in wheel.namelist() if re.fullmatch(r"model_core/weights/\w+\.md", member)]


def test_a_wheel_holds_the_licence(wheel: zipfile.ZipFile):
    """Apache-2.0 asks for it."""
    assert [name for name in wheel.namelist() if name.endswith("/LICENSE")]
