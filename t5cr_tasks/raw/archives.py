"""Takes a few files out of a zip archive that is not to be trusted.

Only the named members are written, under those names, so that nothing in the
archive decides where bytes go. An archive with an entry that would climb out of
its folder is refused as a whole all the same: it is not what it should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from t5cr_tasks import errors

_BLOCK_BYTES = 1 << 20
_ENCRYPTED = 0x1
# zipfile unpacks a block of the others whole, into gigabytes if it is made so.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of an archive's list of entries: some ten thousand of them.
_MOST_DIRECTORY_BYTES = 1 << 20
_NOT_PUBLISHED = (
  "This is not the archive that its publisher made: do not use it"
)
# What zipfile raises, somewhere, on archives that are damaged or exotic.
_BROKEN = (
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  NotImplementedError,
  UnicodeDecodeError,
)


def unpack(
  archive: pathlib.Path,
  members: Sequence[str],
  folder: pathlib.Path,
  max_bytes: int,
  on_bytes: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
  """Writes members of a zip archive into a folder.

  Args:
    archive: the zip file.
    members: names of the files wanted, without folders; each must stand in the
      archive exactly once, in whatever folder.
    folder: where to write them, under just these names; it must be there.
    max_bytes: what the members may hold together, unpacked.
    on_bytes: called as it goes on, with the bytes written and those to write.

  Returns:
    SHA-256 of each member, as hex digits, by name.

  Raises:
    DataError: the archive is damaged, lacks a member, holds a dangerous entry
      or more than `max_bytes`. What was written until then stays.
  """
  with _opened(archive) as file:
    entries = file.infolist()
    wanted = {name: _find(archive, entries, name) for name in members}
    total = _check_size(archive, list(wanted.values()), max_bytes)
    digests, done = {}, 0
    for name, entry in wanted.items():
      digest = hashlib.sha256()
      for block in _copy(file, entry, folder / name):
        digest.update(block)
        done += len(block)
        if on_bytes:
          on_bytes(done, total)
      digests[name] = digest.hexdigest()
    return digests


def names(archive: pathlib.Path) -> list[str]:
  """The names of the files in a zip archive, without their folders.

  Raises:
    DataError: the archive is damaged or holds a dangerous entry.
  """
  with _opened(archive) as file:
    return [
      pathlib.PurePosixPath(entry.filename).name
      for entry in file.infolist()
      if _is_content(entry)
    ]


@contextlib.contextmanager
def _reading(archive: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except _BROKEN as error:
    raise errors.located(
      archive,
      f"not a zip archive that can be read ({error})",
      remedy="Obtain it again",
    ) from error


@contextlib.contextmanager
def _opened(archive: pathlib.Path) -> Iterator[zipfile.ZipFile]:
  """Opens an archive that holds nothing dangerous."""
  with _reading(archive), archive.open("rb") as packed:
    _check_directory(archive, packed)
    with zipfile.ZipFile(packed) as file:
      for entry in file.infolist():
        _check_safe(archive, entry)
      _check_apart(archive, file.infolist())
      yield file


def _check_apart(
  archive: pathlib.Path, entries: Sequence[zipfile.ZipInfo]
) -> None:
  """Refuses entries that share content: few bytes would unpack to many."""
  end, before = 0, None
  for entry in sorted(entries, key=lambda entry: entry.header_offset):
    if before and entry.header_offset < end:
      raise errors.located(
        archive,
        f"the entries {before.filename!r} and {entry.filename!r} overlap; "
        "nothing was unpacked",
        remedy=_NOT_PUBLISHED,
      )
    end, before = entry.header_offset + max(entry.compress_size, 1), entry


def _check_directory(archive: pathlib.Path, packed: BinaryIO) -> None:
  """Looks at the size of the list of entries, before all of it is read."""
  end = zipfile._EndRecData(packed)  # pyright: ignore[reportAttributeAccessIssue]
  size = end[zipfile._ECD_SIZE] if end else 0  # pyright: ignore[reportAttributeAccessIssue]
  if size > _MOST_DIRECTORY_BYTES:
    raise errors.located(
      archive,
      f"its list of entries is {size:,} bytes, expected at most "
      f"{_MOST_DIRECTORY_BYTES:,}; nothing was unpacked",
      remedy=_NOT_PUBLISHED,
    )


def _is_content(entry: zipfile.ZipInfo) -> bool:
  # macOS packs its own notes on each file under the file's name.
  return not entry.is_dir() and not entry.filename.startswith("__MACOSX/")


def _check_safe(archive: pathlib.Path, entry: zipfile.ZipInfo) -> None:
  # The name as it stands: zipfile cuts `filename` at a NUL.
  name = entry.orig_filename
  parts = name.replace("\\", "/").split("/")
  kind = stat.S_IFMT(entry.external_attr >> 16)
  if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in name:
    problem = "a path that leads out of its folder"
  elif kind == stat.S_IFLNK:
    problem = "a link"
  elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
    problem = "neither a file nor a folder"
  else:
    return
  raise errors.located(
    archive,
    f"the entry {name!r} is {problem}; nothing was unpacked",
    remedy=_NOT_PUBLISHED,
  )


def _find(
  archive: pathlib.Path, entries: Sequence[zipfile.ZipInfo], name: str
) -> zipfile.ZipInfo:
  found = [
    entry
    for entry in entries
    if _is_content(entry) and pathlib.PurePosixPath(entry.filename).name == name
  ]
  if len(found) != 1:
    held = ", ".join(e.filename for e in entries if _is_content(e))[:300]
    raise errors.located(
      archive,
      f"{name} stands in it {len(found)} times, expected once; it holds "
      f"{held or 'no files'}",
    )
  if found[0].flag_bits & _ENCRYPTED:
    raise errors.located(archive, f"{name} is encrypted")
  if found[0].compress_type not in _METHODS:
    raise errors.located(
      archive,
      f"{name} is compressed by method {found[0].compress_type}; only stored "
      "and deflated files are unpacked",
      remedy="Pack it anew, with zip",
    )
  return found[0]


def _check_size(
  archive: pathlib.Path, entries: Sequence[zipfile.ZipInfo], max_bytes: int
) -> int:
  # zipfile reads no more of an entry than it declares, so that a declared size
  # that is a lie shows as a wrong checksum, not as a full disk.
  declared = sum(entry.file_size for entry in entries)
  if declared > max_bytes:
    raise errors.located(
      archive,
      f"the files wanted hold {declared:,} bytes unpacked, expected at most "
      f"{max_bytes:,}; nothing was unpacked",
      remedy=_NOT_PUBLISHED,
    )
  return declared


def _copy(
  file: zipfile.ZipFile, entry: zipfile.ZipInfo, path: pathlib.Path
) -> Iterator[bytes]:
  # "x": whatever stands there already, a link too, is not written through.
  with file.open(entry) as source, path.open("xb") as target:
    while block := source.read(_BLOCK_BYTES):
      target.write(block)
      yield block
