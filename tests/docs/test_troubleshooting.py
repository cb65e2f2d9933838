"""The messages that docs/troubleshooting.md explains are those of the code."""

import ast
import functools
import re

import pytest
from blocks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
DESCRIBED = (ast.Module, ast.ClassDef, ast.FunctionDef)
HEADINGS = re.findall(r"^### `(.+)`$", PAGE, re.M)


@functools.cache
def _texts() -> tuple[str, ...]:
  """All texts in the code; what is filled in is `…`."""
  found = []
  for package in ("t5cr", "t5cr_tasks"):
    for path in (ROOT / package).rglob("*.py"):
      tree = ast.parse(path.read_text(encoding="utf-8"))
      described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, DESCRIBED) and isinstance(node.body[0], ast.Expr)
      }
      for node in ast.walk(tree):
        if id(node) in described:
          continue
        if isinstance(node, ast.JoinedStr):
          parts = [
            part.value if isinstance(part, ast.Constant) else "…"
            for part in node.values
          ]
          found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
          found.append(node.value)
  return tuple(found)


def _stands(words: str) -> bool:
  parts = [part.strip() for part in words.split("…")]
  pattern = re.compile(".{0,200}?".join(map(re.escape, filter(None, parts))))
  return any(map(pattern.search, _texts()))


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_message_is_one_of_the_code(heading):
  assert _stands(heading), "No message has these words any more: correct them."


def test_what_is_made_up_is_found():
  assert len(HEADINGS) == len(set(HEADINGS)) > 30
  assert not _stands("There is no such checkpoint at …")
