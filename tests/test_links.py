"""Every link within the repository, in every Markdown file of it, leads to a file and a heading that exist."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
NOT_OURS = ("build", "dist", "node_modules", "runs")
OUTSIDE = re.compile(r"[a-z][a-z+.-]*:", re.IGNORECASE)


def markdown_files() -> list[str]:
    """Return the Markdown files of the repository, without what is installed, built or made by a run."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(
        str(path)
        for path in paths
        if not any(part.startswith(".") or part in NOT_OURS for part in path.parts[:-1])
    )


def links(text: str) -> list[str]:
    """Return where links and images lead to; code is no link."""
    inline = [token for block in MarkdownIt().parse(text) for token in block.children or ()]
    found = [str(token.attrs[name]) for token in inline for name in ("href", "src") if name in token.attrs]
    html = "\n".join(token.content for token in MarkdownIt().parse(text) if token.type == "html_block")
    return found + re.findall(r'(?:href|src)="([^"]+)"', html)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives the headings of a file."""
    blocks = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    found = set()
    for opening, heading in pairwise(blocks):
        if opening.type != "heading_open":
            continue
        words = "".join(each.content for each in heading.children or () if each.type != "image")
        name = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return frozenset(found)


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page's text that lead nowhere."""
    wrong = []
    for link in links(text):
        if OUTSIDE.match(link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", markdown_files())
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken(ROOT / page, (ROOT / page).read_text(encoding="utf-8")) == []


def test_pages_of_the_documentation_are_among_them() -> None:
    assert {"README.md", "docs/tutorial.md", "cluster/README.md", "sweeps/schemas/README.md"} <= set(
        markdown_files()
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](net.md#a-part) [b](#here) [c](https://example.org/x) `[d](gone.md)`", []),
        ("[a](gone.md)", ["gone.md"]),
        ("![a](gone.png)", ["gone.png"]),
        ("[a](net.md#no-part)", ["net.md#no-part"]),
        ("[a][ref]\n\n[ref]: gone.md", ["gone.md"]),
        ("[a](net.md#twice-1) [b](net.md#twice-2)", ["net.md#twice-2"]),
        ('<img src="gone.png">', ["gone.png"]),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, wrong: list[str], tmp_path: Path) -> None:
    (tmp_path / "net.md").write_text("# A part\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{text}\n")
    assert broken(page, page.read_text()) == wrong
