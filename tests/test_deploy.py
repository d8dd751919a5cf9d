"""The files in deploy/ and the containers fit the service that they run."""

import io
import json
import re
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "inpainting.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DOCUMENT = ROOT / "docs" / "operation.md"
# Attached by Prometheus to what it reads.
TARGET_LABELS = {"job", "instance", "le"}
METRIC = r"\b(?:inpaint|process)_\w+\b"


@pytest.fixture(scope="module")
def offered(tiny_checkpoint: Path) -> dict[str, set[str]]:
    """The labels of each sample that the service offers once it has answered a good and a bad request."""
    image, mask = (to_png(picture) for picture in (Image.new("RGB", (64, 64)), Image.new("L", (64, 64))))
    with TestClient(create_app(Settings(checkpoint=tiny_checkpoint, device="cpu"))) as client:
        assert client.post("/inpaint", files={"image": image, "mask": mask}).status_code == 200
        assert client.post("/inpaint", files={"image": image, "mask": b""}).status_code == 400
        text = client.get("/metrics").text
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard and of the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    alerts = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", ALERTS.read_text())
    return [*shown, *alerts]


def unknown_names(expression: str, offered: dict[str, set[str]]) -> set[str]:
    """The metrics and labels in an expression that the service does not offer."""
    names = re.findall(METRIC, expression)
    known = set().union(*(offered.get(name, set()) for name in names)) | TARGET_LABELS
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    labels |= set(re.findall(r"(\w+)(?:=|!=|=~)\"", expression))
    return {name for name in names if name not in offered} | (labels - known)


def test_expressions_are_found() -> None:
    """The dashboard and the alerts are read, and the check below notices what is not there."""
    assert len(expressions()) > 15
    offered = {"inpaint_requests_total": {"status"}}
    assert unknown_names('sum by (size) (rate(inpaint_requests_total{status="200"}[5m]))', offered) == {
        "size"
    }
    assert unknown_names("inpaint_cats", offered) == {"inpaint_cats"}


@pytest.mark.parametrize("expression", expressions())
def test_dashboard_and_alerts_use_real_metrics(expression: str, offered: dict[str, set[str]]) -> None:
    """Each metric and each label of them exists in /metrics."""
    assert unknown_names(expression, offered) == set()


def test_every_metric_is_documented(offered: dict[str, set[str]]) -> None:
    """docs/operation.md lists exactly the service's own metrics, with their labels."""
    rows = re.findall(r"^\| `(inpaint_\w+)` \| \w+ \|([^|]*)\|", DOCUMENT.read_text(), flags=re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    own = {
        re.sub(r"_(bucket|count|sum)$", "", name): labels - {"le"}
        for name, labels in offered.items()
        if name.startswith("inpaint_") and not name.endswith("_created")
    }
    assert documented == own


def test_every_alert_is_documented() -> None:
    """docs/operation.md says what to do about each."""
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert alerts
    assert re.findall(r"^\| `(Inpaint\w+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE) == alerts


def number_in(pattern: str, path: Path) -> float:
    found = re.search(pattern, path.read_text())
    assert found
    return float(found[1])


def test_the_proxy_lets_the_service_refuse() -> None:
    """nginx accepts larger bodies and waits longer than the service, whose answers say why."""
    settings, proxy = Settings(), DEPLOY / "proxy" / "nginx.conf"
    assert number_in(r"client_max_body_size (\d+)m;", proxy) * 1024**2 > settings.max_request_bytes
    assert number_in(r"proxy_read_timeout (\d+)s;", proxy) > settings.timeout_seconds


def test_the_proxy_repeats_no_request_that_may_have_killed_a_replica() -> None:
    """What was sent goes to another replica only if this one refused it, not if the connection broke off."""
    rules = re.findall(r"proxy_next_upstream ([^;]+);", (DEPLOY / "proxy" / "nginx.conf").read_text())
    repeating = [set(rule.split()) for rule in rules if "non_idempotent" in rule]
    assert repeating == [{"http_503", "http_429", "non_idempotent"}]


def test_the_proxy_has_memory_for_what_waits_in_it() -> None:
    """A tmpfs is charged to its container: there is room for a full one, and in it for an address's."""
    compose, proxy = DEPLOY / "docker-compose.replicas.yml", DEPLOY / "proxy" / "nginx.conf"
    tmpfs = 1024 * number_in(r"/tmp:size=(\d+)g", compose)
    assert number_in(r"memory: (\d+)m", compose) >= tmpfs + 128
    connections = number_in(r"limit_conn addresses (\d+);", proxy)
    assert connections * number_in(r"client_max_body_size (\d+)m;", proxy) < tmpfs
    assert number_in(r"proxy_max_temp_file_size (\d+);", proxy) == 0


def test_compose_waits_for_the_service_to_finish() -> None:
    """Compose kills only what had its drain and grace time."""
    settings = Settings()
    patience = number_in(r"inpaint:(?:.|\n)*?stop_grace_period: (\d+)s", ROOT / "docker-compose.yml")
    assert patience > settings.drain_seconds + settings.grace_seconds


def test_the_image_says_its_version() -> None:
    """The label is the package's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize(
    "path",
    [ROOT / "Dockerfile", *sorted(DEPLOY.rglob("Dockerfile")), *sorted(DEPLOY.glob("*.yml"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_images_of_others_are_taken_by_their_version(path: Path) -> None:
    """No tag that moves from one release to another."""
    images = re.findall(r"^\s*(?:FROM|image:) (\S+:\S+)", path.read_text(), flags=re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+", image)] == []
