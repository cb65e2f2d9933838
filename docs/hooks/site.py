"""What MkDocs changes in the pages on their way to the site.

The pages are written for a plain git host: blocks say behind their language
what they need (`sh cloud`), and links lead to files beside docs/. On the site
the first becomes a title of the block, the second a page.
"""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What a block that is not run as it stands needs, by the word behind the
# language of its fence. tests/docs refuses other words.
MARKERS = {
  "cloud": "Needs Google Cloud or a cluster",
  "gpu": "Needs a GPU",
  "data": "Needs data that are not part of this project",
  "net": "Needs a connection",
  "install": "Installs software",
  "processes": "Starts several processes",
  "long": "Takes more than a few minutes",
  "t5x": "Needs upstream t5x",
  "tpu": "Needs libtpu: pip install '.[tpu]'",
  "beam": "Needs Apache Beam: pip install '.[beam]'",
  "local": "Needs Apache Beam: pip install '.[beam]'",
  "hf": "Needs transformers: pip install '.[hf]'",
}

# Pages of the site that lie elsewhere in the repository.
BORROWED = {
  "changes.md": "CHANGELOG.md",
  "contributing.md": "CONTRIBUTING.md",
  "benchmarks.md": "benchmarks/README.md",
}

_FENCE = re.compile(r"^(\s*```)(\w+) ([\w./-]+)$", re.M)
_LINK = re.compile(r"(?<=\]\()(?:\.\./)*([\w./-]+)(?=[)#])")


def on_files(files, config):
  """Adds the pages that lie elsewhere in the repository."""
  for name, source in BORROWED.items():
    text = (ROOT / source).read_text(encoding="utf-8")
    files.append(File.generated(config, name, content=text))
  return files


def on_page_markdown(markdown, page, config, files):
  """Turns markers into titles, and links to other files into links to pages."""
  del config, files
  markdown = _FENCE.sub(_titled, markdown)
  source = BORROWED.get(page.file.src_uri)
  base = (ROOT / source).parent if source else ROOT / "docs"

  def page_of(found: re.Match) -> str:
    return _page(base, found[0])

  return _LINK.sub(page_of, markdown)


def on_page_content(html, page, config, files):
  """Leads a notebook's links to pages; MkDocs does so for Markdown alone."""
  del config, files
  if not page.file.src_uri.endswith(".ipynb"):
    return html
  return re.sub(r'href="([\w-]+)\.md(?=["#])', r'href="../\1/', html)


def _titled(found: re.Match) -> str:
  start, language, word = found.groups()
  return f'{start}{language} title="{MARKERS.get(word, word)}"'


def _page(base: pathlib.Path, link: str) -> str:
  """Where a link to a file of the repository leads on the site."""
  path = (base / link).resolve()
  if not path.is_relative_to(ROOT):
    return link
  name = path.relative_to(ROOT).as_posix()
  for borrowed, source in BORROWED.items():
    if name == source:
      return borrowed
  if name == "README.md":
    return "index.md"
  if name == "gin" or name.startswith("gin/"):
    return "gin.md"
  return name.removeprefix("docs/") if base != ROOT / "docs" else link
