"""Makes the page gin.md of the files in gin/: headers, macros, defaults."""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2] / "gin"

_SECTIONS = {
  "Run files of the engine": "t5cr",
  "Recipes": "recipe",
  "Rows of Table 3": "recipe/rows",
  "Run files of upstream t5x": "t5x",
}
_MACRO = re.compile(r"^([A-Z][A-Z0-9_]*) = (.*?)(?:  # (.*))?$")
_ITEM = re.compile(r"^- (.*)$")
_INTRODUCTION = """\
# gin files

Made of the files in `gin/` when the site is built. A run file comes first, then
a recipe, then a row; later values replace earlier ones, and flags
(`--gin.MACRO=VALUE`) replace all. How they are found and what the macros mean
together: [engine](engine.md), [t5x](t5x.md).
"""


def on_files(files, config):
  """Adds gin.md."""
  files.append(File.generated(config, "gin.md", content=page()))
  return files


def page() -> str:
  """The whole page as Markdown."""
  parts = [_INTRODUCTION]
  for title, folder in _SECTIONS.items():
    parts.append(f"## {title}\n")
    parts += [_file(path) for path in sorted((ROOT / folder).glob("*.gin"))]
  return "\n".join(parts)


def _file(path: pathlib.Path) -> str:
  """A section about one file."""
  lines = path.read_text(encoding="utf-8").splitlines()
  end = next(n for n, line in enumerate(lines) if not line.startswith("#"))
  header = [line.removeprefix("#").removeprefix(" ") for line in lines[:end]]
  name = path.relative_to(ROOT).as_posix()
  return f"### `{name}`\n\n{_header(header)}\n{_macros(lines[end:])}"


def _header(lines: list[str]) -> str:
  """The comment on top: sentences and lists as text, the rest as it stands."""
  parts = []
  for paragraph in "\n".join(lines).split("\n\n"):
    # "Command:  t5cr …" and what goes with it are lined up.
    lined_up = re.search(r"^\w+: {2,}", paragraph, re.M)
    parts.append(f"```text\n{paragraph}\n```" if lined_up else paragraph)
  return "\n\n".join(parts) + "\n"


def _macros(lines: list[str]) -> str:
  """A table of the macros with a value, a section of the file after another."""
  rows, about = [], ""
  for line in lines:
    found = _MACRO.match(line)
    if line.startswith("# "):
      about = f"{about} {line.removeprefix('# ')}".strip()
    elif found:
      name, value, comment = found.groups()
      value = "required" if value == "%gin.REQUIRED" else f"`{value}`"
      rows.append(f"| `{name}` | {value} | {comment or about} |")
      about = ""
    else:
      about = ""
  if not rows:
    return ""
  return "\n".join(["| Macro | Value | |", "|---|---|---|", *rows]) + "\n"
