"""README.zh-CN.md is README.md in Chinese: the same headings, code, tables, links and figures."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))


def heading_levels(text: str) -> list[int]:
    outside_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", outside_code, flags=re.MULTILINE)]


def code_blocks(text: str) -> list[list[str]]:
    """The lines of each block without what is said about them: a comment, or the text beside a path."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [
        [
            line.split("  #")[0].rstrip() if language else line.split("  ")[0] or line.split()[0]
            for line in code.splitlines()
        ]
        for language, code in blocks
    ]


def table_rows(text: str) -> list[list[str]]:
    """The cells of all rows but the headings and their rulers."""
    lines = text.splitlines()
    rows = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not line.startswith("|---") and not after.startswith("|---")
    ]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def in_code_and_numbers(cell: str) -> list[str]:
    """What stands in backquotes, and the figures, which no translation changes."""
    return re.findall(r"`[^`]+`|\d+(?:\.\d+)?", cell)


def test_the_same_headings() -> None:
    """As many, and of the same levels."""
    assert heading_levels(CHINESE) == heading_levels(ENGLISH)


def test_the_same_code() -> None:
    """Commands and paths are equal; what is said about them is translated."""
    assert code_blocks(CHINESE) == code_blocks(ENGLISH)


def test_the_same_tables() -> None:
    """Row by row, the names and figures are equal."""
    english, chinese = table_rows(ENGLISH), table_rows(CHINESE)
    assert [in_code_and_numbers(row[0]) for row in chinese] == [
        in_code_and_numbers(row[0]) for row in english
    ]
    assert [len(row) for row in chinese] == [len(row) for row in english]


def test_the_same_links() -> None:
    """Whatever the one leads to, the other does, beside each other."""
    links = [sorted(re.findall(r"\]\(([^)]+)\)", text)) for text in (ENGLISH, CHINESE)]
    assert [link for link in links[1] if link != "README.md"] == [
        link for link in links[0] if link != "README.zh-CN.md"
    ]


def test_the_same_figures_and_names() -> None:
    """Settings, paths and measured figures of the running text are all there."""

    def told(text: str) -> set[str]:
        outside_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        return set(re.findall(r"\b\d+\.\d+\b|\b[A-Z]+_[A-Z_]+\b|`(?:GET|POST) [^`]+`", outside_code))

    assert told(CHINESE) == told(ENGLISH)
