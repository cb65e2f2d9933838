"""The fenced blocks of the pages, and what bash makes of those with commands.

The word behind a fence's language is the file that the block is, or one of
`MARKERS`, which says what the block needs; a block without one is run.
"""

import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

_spec = importlib.util.spec_from_file_location(
  "site_hook", ROOT / "docs" / "hooks" / "site.py"
)
assert _spec and _spec.loader
_site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_site)
MARKERS = _site.MARKERS

PAGES = sorted(
  path.relative_to(ROOT).as_posix()
  for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
  for path in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.M | re.S)

# Writes what each command is called with, instead of calling it. Bash itself
# sees to variables, quotes and loops.
_RECORDER = """\
PATH=/nowhere
command_not_found_handle() {
  printf '%s\\0' "$#" "$@" "$PWD" "${T5CR_VOCABULARY-}" >&3
}
"""


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block: page, line of the fence, its two words, its text."""

  page: str
  line: int
  language: str
  word: str
  text: str

  def __str__(self) -> str:
    return f"{self.page}:{self.line}"

  @property
  def is_file(self) -> bool:
    return "." in self.word


@dataclasses.dataclass(frozen=True)
class Call:
  """A command: its words, where it is called, and with which vocabulary."""

  words: tuple[str, ...]
  folder: str
  vocabulary: str


def read(page: str) -> list[Block]:
  """The blocks of a page, named from the root of the repository."""
  text = (ROOT / page).read_text(encoding="utf-8")
  found = []
  for match in _FENCE.finditer(text):
    language, _, word = match[2].strip().partition(" ")
    line = text.count("\n", 0, match.start()) + 1
    found.append(Block(page, line, language, word, match[3]))
  return found


def calls(block: Block, folder: pathlib.Path, vocabulary: str) -> list[Call]:
  """The commands of a shell block, in order.

  Args:
    block: what bash is to read.
    folder: where it is called.
    vocabulary: T5CR_VOCABULARY before it.

  Returns:
    All commands but those of the shell itself.
  """
  reader, writer = os.pipe()
  environment = {"T5CR_VOCABULARY": vocabulary, "HOME": "/home/you"}
  script = f"{_RECORDER}{block.text}\nT5CR_VOCABULARY=$T5CR_VOCABULARY :end"
  script = f"exec 3>&{writer}\n{script}"
  done = subprocess.run(
    ["bash", "--noprofile", "--norc", "-c", script],
    cwd=folder,
    env=environment,
    pass_fds=[writer],
    capture_output=True,
    text=True,
  )
  os.close(writer)
  with os.fdopen(reader, encoding="utf-8") as stream:
    words = stream.read().split("\0")[:-1]
  assert "syntax error" not in done.stderr, f"{block}: {done.stderr}"
  found = []
  while words:
    count = int(words[0])
    found.append(Call(tuple(words[1 : count + 1]), *words[count + 1 :][:2]))
    words = words[count + 3 :]
  assert found and found[-1].words == (":end",), f"{block}: {done.stderr}"
  return found
