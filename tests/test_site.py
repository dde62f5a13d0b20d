"""The documents lead to each other, and become a site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]


@pytest.mark.slow
def test_the_site_is_built_and_no_link_leads_nowhere(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None and "CI" not in os.environ:
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pages = {str(page.relative_to(DOCS).with_suffix(".html")) for page in DOCS.rglob("*.md")}
    assert {str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.html")} - {"404.html"} == pages
    assert '<pre class="mermaid">' in (tmp_path / "architecture.html").read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """As GitHub and the site name a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """(path, anchor) of each link to another file or place of the project."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    for link in found:
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", [*OUTSIDE, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_a_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    for path, anchor in links_of(page):
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors_of(there), f"{page.name}: {path}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    linked = {path for path, _ in links_of(DOCS / "index.md")}
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - linked == {"index.md"}


def test_the_page_of_kubernetes_names_values_and_objects_of_the_chart() -> None:
    page = (DOCS / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    chart = ROOT / "deploy" / "helm" / "tokenswarm"
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    in_table = [
        name for row in re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", row)
    ]
    named = {*re.findall(r"--set ([\w.]+)=", page), *(name for name in in_table if name.split(".")[0] in values)}
    assert {"mode", "host", "workers", "image.repository", "secret.existing", "results.upload.url"} <= named
    for name in named - {"podSecurityContext.fsGroup"}:  # Kubernetes knows it, whatever the chart sets
        found = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]
    templates = "".join(file.read_text(encoding="utf-8") for file in (chart / "templates").iterdir())
    (key,) = re.findall(r"jsonpath='\{\.data\.([\w-]+)\}'", page)
    assert f"key: {key} }}" in templates
