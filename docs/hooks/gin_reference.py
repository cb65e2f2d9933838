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
  own = {found[1] for line in lines if (found := _MACRO.match(line))}
  told, text = _header("\n".join(header), own)
  name = path.relative_to(ROOT).as_posix()
  return f"### `{name}`\n\n{text}\n{_macros(lines[end:], told)}"


def _header(text: str, own: set[str]) -> tuple[dict[str, str], str]:
  """The comment on top of a file.

  Args:
    text: without the marks of a comment.
    own: macros that the file has.

  Returns:
    (macro -> what the lists say of it, the rest as Markdown).
  """
  told, parts = {}, []
  for paragraph in text.split("\n\n"):
    # "Command:  t5cr …" and what goes with it are lined up.
    if re.search(r"^\w+: {2,}", paragraph, re.M):
      parts.append(f"```text\n{paragraph}\n```")
      continue
    paragraph = paragraph.replace("<", "&lt;")
    if not paragraph.startswith("- "):
      parts.append(paragraph)
      continue
    kept = []
    for item in re.sub(r"\n +", " ", paragraph).splitlines():
      names, _, meaning = item.removeprefix("- ").partition(": ")
      if set(names.split(", ")) <= own:
        told |= dict.fromkeys(names.split(", "), meaning)
      else:
        kept.append(item)
    if kept:
      parts.append("\n".join(kept))
    else:
      parts.pop()  # "Required:", of which all is in the table
  return told, "\n\n".join(parts) + "\n"


def _macros(lines: list[str], told: dict[str, str]) -> str:
  """A table of the macros with a value; a group begins behind a blank line."""
  rows, comment, begins = [], "", True
  for line in lines:
    found = _MACRO.match(line)
    if line.startswith("# "):
      comment = f"{comment} {line.removeprefix('# ')}".strip()
    elif found:
      name, value, beside = found.groups()
      if comment and begins:
        rows.append(f"| **{comment}** | | |")
        comment = ""
      about = "; ".join(filter(None, (told.get(name), comment, beside)))
      value = "required" if value == "%gin.REQUIRED" else f"`{value}`"
      rows.append(f"| `{name}` | {value} | {about} |")
      comment, begins = "", False
    else:
      comment, begins = "", True
  if not rows:
    return ""
  return "\n".join(["| Macro | Value | |", "|---|---|---|", *rows]) + "\n"
