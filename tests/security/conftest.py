"""What hostile files are tested with: a folder that is watched."""

import os
import pathlib
from collections.abc import Iterator

import pytest


class Watched:
  """A folder in which only `inside` may change.

  Attributes:
    inside: the folder that the attacked command was given.
    sentinel: a file that the attacks' code would make.
  """

  def __init__(self, root: pathlib.Path):
    root.mkdir()
    self.root = root
    self.inside = root / "inside"
    self.inside.mkdir()
    self.sentinel = root / "EXECUTED"
    (root / "precious.json").write_text("precious")
    self._before = self._state()

  def _state(self) -> dict[str, bytes]:
    found = {}
    for folder, names, files in os.walk(self.root):
      here = pathlib.Path(folder)
      if here == self.root:
        names.remove("inside")
      for name in (*names, *files):
        path = here / name
        found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found

  def taken(self) -> None:
    """Takes what stands outside now for how it has to stay."""
    self._before = self._state()

  def check(self) -> None:
    """Fails if anything outside was changed, or an attack's code has run."""
    assert not self.sentinel.exists(), "the attack's code has run"
    assert self._state() == self._before


@pytest.fixture
def watched(tmp_path: pathlib.Path) -> Iterator[Watched]:
  folder = Watched(tmp_path / "watched")
  yield folder
  folder.check()
