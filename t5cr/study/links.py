"""Refuses links that lead out of a folder that may be somebody else's."""

import os
import pathlib
from collections.abc import Iterator

from t5cr import errors

# What a study writes below its folder, but for raw/.
WRITTEN = ("stages", "data", "vocabulary", "baselines", "rows", "report")


def check(out: pathlib.Path, names: tuple[str, ...] = WRITTEN) -> None:
  """Checks that what is written below a folder stays there.

  Args:
    out: the folder; it need not exist, and may be a link itself.
    names: of what is written in it.

  Raises:
    UsageError: there is a link that leads elsewhere, at any depth.
  """
  root = out.resolve()
  for name in names:
    for path in _links(out / name):
      target = path.resolve()
      if not target.is_relative_to(root):
        raise errors.UsageError(
          f"{path} is a link to {target}, which lies outside of {out}. "
          "Nothing was changed. Copy what it leads to in its place, or use "
          "another folder."
        )


def _links(path: pathlib.Path) -> Iterator[pathlib.Path]:
  if path.is_symlink():
    yield path
    return
  for folder, folders, files in os.walk(path):
    for name in (*folders, *files):
      entry = pathlib.Path(folder, name)
      if entry.is_symlink():
        yield entry
