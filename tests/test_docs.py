"""The documents and the files around the code say what the code does."""

import hashlib
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.main import create_app
from app.problems import INVALID_FIELD, KINDS, Kind
from app.settings import Settings
from model_core.checkpoint import bundled_path, load_checkpoint
from training.__main__ import build_parser, resolve_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("model_core/weights/*.md")])
CONTAINER_FILES = [
    ROOT / "Dockerfile",
    *sorted(ROOT.glob("docker-compose*.yml")),
    *sorted(path for path in ROOT.glob("deploy/**/*") if path.is_file()),
]
PROJECT_FILES = [
    *DOCUMENTS,
    *CONTAINER_FILES,
    *(ROOT / name for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run", ".dockerignore")),
    *(
        path
        for package in ("app", "model_core", "training", "tests")
        for path in (ROOT / package).rglob("*.py")
    ),
]
MODULES = sorted(
    path for package in ("app", "model_core", "training") for path in (ROOT / package).rglob("*.py")
)


def section(title: str) -> str:
    """The README's text from a heading to the next one of any level."""
    return re.split(r"^#+ ", README.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def code_lines(text: str) -> list[str]:
    """The commands in a document's shell blocks, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def layout_paths() -> set[str]:
    """The files and folders of the README's layout, each by its path."""
    paths, folders = set(), [""]
    for line in section("Layout").split("```")[1].splitlines():
        if line.strip():
            depth = (len(line) - len(line.lstrip())) // 2
            path = folders[depth] + line.split()[0]
            paths.add(path)
            folders[depth + 1 :] = [path]
    return paths


@pytest.mark.parametrize("name", Settings.model_fields)
def test_readme_lists_every_setting(name: str):
    """Each field of the settings has its row, with its default and description."""
    field = Settings.model_fields[name]
    fixed = field.default_factory is None and field.default is not None
    default = f"`{field.default}`" if fixed else ""

    assert (
        f"| `INPAINT_{name.upper()}` | {default} | {field.description} |" in section("Settings").splitlines()
    )


@pytest.mark.parametrize("kind", [*KINDS.values(), INVALID_FIELD], ids=lambda kind: kind.name)
def test_readme_lists_every_error(kind: Kind):
    """Each kind of problem has its row, with its status and title."""
    assert f"| {kind.status} | `{kind.name}` | {kind.title} |" in section("Errors").splitlines()


def test_readme_lists_every_status_that_the_api_declares():
    """What OpenAPI says POST /inpaint can answer, the README says too."""
    declared = create_app().openapi()["paths"]["/inpaint"]["post"]["responses"]
    listed = set(re.findall(r"^\| (\d{3}) \|", section("Errors"), flags=re.MULTILINE))

    assert set(declared) - {"200"} == listed


def test_readme_lists_every_form_field():
    """The table of POST /inpaint has exactly the fields that OpenAPI declares."""
    document = create_app().openapi()
    body = document["paths"]["/inpaint"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = document["components"]["schemas"][body["$ref"].rsplit("/")[-1]]["properties"]
    fields_table = section("HTTP API").split("| field |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", fields_table, flags=re.MULTILINE) == list(fields)


def test_readme_lists_every_path():
    """No path of the API goes unmentioned."""
    for path in create_app().openapi()["paths"]:
        assert f" {path}`" in section("HTTP API")


def test_readme_lists_every_module():
    """The layout names each module of the three packages and nothing that is not there."""
    named = layout_paths()
    modules = {str(path.relative_to(ROOT)) for path in MODULES if path.name != "__init__.py"}

    assert modules <= named
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_model_card_is_of_the_bundled_checkpoint():
    """Its size, its parameters and its digest are those of the file beside it."""
    path = bundled_path()
    card = (path.parent / "MODEL_CARD.md").read_text()
    content = path.read_bytes()
    loaded = load_checkpoint(path)
    parameters = sum(parameter.numel() for parameter in loaded.generator.parameters())

    assert f"{len(content) / 1e6:.1f} MB, {parameters:,} parameters" in card
    assert hashlib.sha256(content).hexdigest()[:16] in card


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_waits_for_a_figure(document: Path):
    assert not re.search(r"\{\{[A-Z]+\}\}", document.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path):
    """Every `make TARGET` that a document speaks of is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = document.read_text()
    spoken_of = set(re.findall(r"`make ([a-z]+)", text))
    typed = {word for line in code_lines(text) for word in re.findall(r"\bmake ([a-z]+)", line)}

    assert spoken_of | typed <= targets


def test_continuous_integration_checks_and_tests():
    """.ci/run calls the make targets that CONTRIBUTING promises, and can be executed."""
    script = ROOT / ".ci" / "run"

    assert re.findall(r"^make (\w+)", script.read_text(), flags=re.MULTILINE) == ["check", "test"]
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("document", "further"), [("README.md", set[str]()), ("docs/training.md", {"prune", "distil"})]
)
def test_training_commands_are_understood(document: str, further: set[str]):
    """A document's `-m training` lines, of each command one at least, are parsed by the real parser."""
    lines = [line for line in code_lines((ROOT / document).read_text()) if "-m training" in line]
    commands = [shlex.split(line.split("-m training ")[1]) for line in lines]
    assert {command[0] for command in commands} == {"fit", "evaluate", "export", *further}

    for command in commands:
        build_parser().parse_args(command)


@pytest.mark.parametrize("recipe", ["bundled-training.json", "fine-tuning.json"])
def test_a_recipe_can_be_trained(recipe: str):
    """The configurations in docs/ name only fields that there are, with values that they may have."""
    config = resolve_config(build_parser().parse_args(["fit", "--config", str(ROOT / "docs" / recipe)]))

    assert config.total_samples > 0 or config.max_minutes > 0
    assert not config.init or (ROOT / config.init).is_file()


@pytest.mark.parametrize("job", ["fit", "export"])
def test_training_jobs_of_the_compose_file_are_understood(job: str):
    """So are the arguments of the compose file's jobs, with the variables' defaults."""
    text = (ROOT / "docker-compose.yml").read_text()
    items = re.search(rf"command:\n((?: +- .*\n)*? +- {job}\n(?: +- .*\n)*)", text)
    assert items
    arguments = re.findall(r"- (.*)", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", items[1]))

    assert build_parser().parse_args(arguments).command


def test_the_images_start_modules_that_exist():
    """`python -m NAME` in the Dockerfile names packages with a __main__."""
    started = re.findall(r'"python", "-m", "(\w+)"', (ROOT / "Dockerfile").read_text())

    assert set(started) == {"app", "model_core", "training"}
    assert all(find_spec(f"{name}.__main__") for name in started)


@pytest.mark.parametrize("path", [*DOCUMENTS, *CONTAINER_FILES], ids=lambda path: path.name)
def test_only_real_settings_are_spoken_of(path: Path):
    """Every INPAINT_ variable in documents and container files is a setting."""
    settings = {f"INPAINT_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"\bINPAINT_[A-Z_]+[A-Z]\b", path.read_text())) <= settings


def test_readme_lists_the_variables_of_the_compose_file():
    """Each ${VARIABLE} of the compose file is explained."""
    variables = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))

    assert variables
    assert {name for name in variables if f"`{name}`" not in section("Docker")} == set()


def test_changelog_has_a_place_for_the_next_change():
    """Keep a Changelog's Unreleased section, and every other section a version."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert headings[0] == "[Unreleased]"
    assert not headings[1:] or headings[1].startswith(f"[{version}] - ")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_files_resolve(document: Path):
    """Whatever a document links to or shows lies in the repository."""
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'\bsrc="([^"]+)"', text)
    local = [target for target in targets if "://" not in target]

    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("path", PROJECT_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_depends_on_one_machine(path: Path):
    """No path of a particular machine stands in the project."""
    assert re.findall(r"(?<![\w./-])/(?:home|root|Users|work)/\S*", path.read_text()) == []
