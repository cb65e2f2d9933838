"""The site builds without a warning, and without the network."""

import os
import re
import subprocess
import sys

import pytest
from blocks import MARKERS, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  folder = tmp_path_factory.mktemp("site") / "site"
  done = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
    cwd=ROOT,
    env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return folder


def _text(page) -> str:
  return page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_page_is_there(site):
  built = {
    page.parent.relative_to(site).as_posix()
    for page in site.rglob("index.html")
  }
  written = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
  assert written <= built
  assert {".", "gin", "changes", "contributing", "benchmarks"} <= built
  assert "dialogue_to_score" in built
  assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_nothing_is_fetched_when_it_is_read(site):
  pattern = re.compile(
    r"<(?:script|link|img)[^>]* (?:src|href)=\"?(https?:[^\" >]+)"
  )
  for page in site.rglob("*.html"):
    assert not pattern.findall(_text(page)), page


@pytest.mark.slow
def test_markers_are_titles(site):
  tour = _text(site / "tour" / "index.html")
  assert f">{MARKERS['install']}<" in tour
  for page in site.rglob("*.html"):
    assert "```" not in _text(page), page


@pytest.mark.slow
def test_the_gin_page_has_every_file_and_macro(site):
  page = _text(site / "gin" / "index.html")
  for path in (ROOT / "gin").rglob("*.gin"):
    assert f"<code>{path.relative_to(ROOT / 'gin').as_posix()}</code>" in page
  for words in ("<td>required</td>", "all devices that are left"):
    assert words in page


@pytest.mark.slow
def test_the_api_is_that_of_the_docstrings(site):
  page = _text(site / "api" / "t5cr" / "index.html")
  assert 'id="t5cr.recommender.load"' in page
  assert "a run folder, whose latest checkpoint is meant" in page


@pytest.mark.slow
def test_every_link_leads_somewhere(site):
  link = re.compile(r"(?:href|src)=\"([^\"#?:]+)[\"#?]")
  for page in site.rglob("*.html"):
    if page.name == "404.html":  # It is shown in any place.
      continue
    for target in set(link.findall(_text(page))):
      found = site / target[1:] if target[0] == "/" else page.parent / target
      assert found.exists(), f"{page.relative_to(site)}: {target}"
