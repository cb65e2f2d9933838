"""Refuses links that lead out of a folder that may be somebody else's."""

import os
import pathlib

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
  waiting, seen = [out / name for name in names], set()
  while waiting:
    path = waiting.pop()
    if path.is_symlink():
      target = pathlib.Path(os.path.realpath(path))
      if not target.is_relative_to(root):
        raise errors.UsageError(
          f"{path} is a link to {target}, which lies outside of {out}. "
          "Nothing was changed. Copy what it leads to in its place, or use "
          "another folder."
        )
      path = target
    if path not in seen and path.is_dir():
      seen.add(path)
      with os.scandir(path) as entries:
        waiting += [
          path / entry.name
          for entry in entries
          if entry.is_symlink() or entry.is_dir()
        ]
