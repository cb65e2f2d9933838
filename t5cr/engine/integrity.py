"""Whether a checkpoint on a disk is what was saved.

Arrays have checksums (`checksums`). What lies around them, without which they
cannot be read, or training goes on elsewhere, is listed with its sha256 in
`config/files.json`, once all of it is written.
"""

import hashlib
import json
from collections.abc import Iterator

from etils import epath

from t5cr.engine import checksums, formats, positions
from t5cr.engine.formats import Found

_FILE = "files.json"
# Larger files hold arrays.
_LARGEST = 1 << 20


def list_files(path: epath.Path) -> None:
  """Writes the list of a checkpoint's small files into it.

  Args:
    path: the checkpoint's folder, complete but for this.
  """
  listed = path / "config" / _FILE
  listed.write_text(json.dumps(_sha256(path), indent=1))


def problem(found: Found) -> str | None:
  """Reads a whole checkpoint on this host; what is wrong with it, if anything.

  Args:
    found: a checkpoint that this engine wrote, finished or about to be.

  Returns:
    A few words, or None if all is as it was saved. One that was converted has
    no list of its files, an older one no checksums: these have to be readable.

  Raises:
    UsageError: it cannot be read at present, which says nothing of it.
  """
  try:
    reason = _differing_file(found.path)
    reason = reason or positions.problem(found)
    return reason or checksums.problem(found)
  # Orbax raises plain exceptions around those of its libraries.
  except Exception as error:
    formats.check_lasting(found.path, error)
    return (str(error).splitlines() or [repr(error)])[0]


def _differing_file(path: epath.Path) -> str | None:
  listed = path / "config" / _FILE
  if not listed.exists():
    return None
  known, there = json.loads(listed.read_text()), _sha256(path)
  for name in sorted(known.keys() | there.keys()):
    if known.get(name) != there.get(name):
      return f"{name} is not what was saved (its sha256 differs)"
  return None


def _sha256(path: epath.Path) -> dict[str, str]:
  # Beside the items, Orbax notes when it finished, after this is read.
  items = [item for item in path.iterdir() if item.is_dir()]
  return {
    str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
    for item in items
    for file in _files(item)
    if file.name != _FILE and file.stat().length <= _LARGEST
  }


def _files(folder: epath.Path) -> Iterator[epath.Path]:
  """All files in and below a folder; epath has no `rglob`."""
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      yield from _files(path)
    else:
      yield path
