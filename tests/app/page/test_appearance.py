"""The page is accessible, speaks two languages, fits every screen, and runs nothing but its own files."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

Visit = Callable[..., Any]


def open_example(screen: Any) -> None:
    screen.page.click("[data-command=example]")
    screen.page.wait_for_selector("body.working:not(.busy)")


def faults(screen: Any) -> list[str]:
    """What axe finds, of any severity."""
    violations = Axe().run(screen.page).response["violations"]
    return [
        f"{item['id']}: {[node['html'] + node.get('failureSummary', '') for node in item['nodes']]}"
        for item in violations
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1100)])
def test_axe_finds_nothing(visit: Visit, scheme: str, width: int):
    """Names, roles, contrast: at the start, while painting, comparing and reading the help."""
    screen = visit(color_scheme=scheme, viewport={"width": width, "height": 760}, reduced_motion="reduce")
    assert faults(screen) == []
    open_example(screen)
    assert faults(screen) == []
    screen.fill()
    screen.page.keyboard.press("c")
    assert faults(screen) == []
    screen.page.keyboard.press("?")
    assert faults(screen) == []


def test_everything_fits_on_the_screen(visit: Visit):
    """From a small phone to a large screen: no scrolling, every button in sight, room for the picture."""
    screen = visit()
    open_example(screen)
    for width, height in [(320, 568), (390, 844), (844, 390), (768, 1024), (1920, 1080)]:
        screen.page.set_viewport_size({"width": width, "height": height})
        overflow = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert screen.page.evaluate(overflow) == [width, height]
        boxes = [button.bounding_box() for button in screen.page.locator("button:visible").all()]
        assert [box for box in boxes if box["x"] < 0 or box["x"] + box["width"] > width] == []
        assert [box for box in boxes if box["y"] < 0 or box["y"] + box["height"] > height] == []
        assert screen.page.locator("#stage").bounding_box()["height"] > 0.3 * height


def test_the_browsers_language_is_spoken_and_can_be_changed(visit: Visit):
    """Chinese for a Chinese browser; another choice holds when the page is loaded again."""
    screen = visit(locale="zh-CN")
    assert screen.page.inner_text("h2[data-text=heading]") == "从图片中去掉任何东西"
    assert screen.page.get_attribute("html", "lang") == "zh"

    screen.page.select_option("#language", "en")
    assert screen.page.inner_text("h2[data-text=heading]") == "Remove anything from a picture"
    assert screen.page.title() == "Inpainting"

    screen.page.reload()
    screen.page.wait_for_selector("#go span:not(:empty)", state="attached")
    assert screen.page.get_attribute("html", "lang") == "en"


def test_a_foreign_script_does_not_run(browser: Browser, address: str):
    """The browser refuses a script that is not the page's own file, whoever put it there."""
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(address)
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.head.append(script);
            return window.ran === true;
        }"""
    )
    page.close()

    assert ran is False
    assert "Content Security Policy" in refused[0]
