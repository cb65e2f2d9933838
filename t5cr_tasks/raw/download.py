"""Fetches the raw files that have a stable address and a published checksum."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO

from t5cr_tasks import errors
from t5cr_tasks.raw import archives, movielens, redial, transfer

RECORD = ".fetched.json"


@dataclasses.dataclass(frozen=True)
class Source:
  """A zip archive on the web.

  Attributes:
    name: of its folder below RAW.
    url: where it is.
    sha256: of the archive, as hex digits.
    size: bytes of the archive, None where that is not published.
    members: the files to take from it.
    max_unpacked: bytes that these may hold together.
    terms: what its publisher allows, one sentence.
  """

  name: str
  url: str
  sha256: str
  size: int | None
  members: tuple[str, ...]
  max_unpacked: int
  terms: str

  @property
  def archive(self) -> str:
    """The archive's file name."""
    return self.url.rsplit("/", 1)[-1]


SOURCES = {
  source.name: source
  for source in (
    # Checksum: ParlAI, parlai/tasks/redial/build.py, which takes the movie
    # list from this archive too.
    Source(
      name="redial",
      url="https://github.com/ReDialData/website/raw/data/redial_dataset.zip",
      sha256=(
        "b48756681ec6f84e0af36979c5e9baa21ea8d9e7036b8764ea9b787bb0baf69b"
      ),
      size=None,
      members=(*redial.SPLIT_FILES.values(), redial.MOVIE_LIST),
      max_unpacked=1 << 29,
      terms="ReDial is licensed under CC BY 4.0.",
    ),
    # Checksum: TensorFlow Datasets, url_checksums/movielens.txt.
    Source(
      name="movielens",
      url="https://files.grouplens.org/datasets/movielens/ml-25m.zip",
      sha256=(
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"
      ),
      size=261_978_986,
      members=(
        movielens.MOVIES,
        movielens.RATINGS,
        movielens.GENOME_TAGS,
        movielens.GENOME_SCORES,
      ),
      max_unpacked=1 << 31,
      terms=(
        "MovieLens 25M is for research: no redistribution, and no commercial "
        "use without permission."
      ),
    ),
  )
}


def fetch(
  source: Source,
  raw_dir: str | os.PathLike[str],
  *,
  patience: transfer.Patience | None = None,
  progress: transfer.Progress | None = None,
) -> bool:
  """Puts the files of a source below RAW, if they are not there.

  The archive comes to `RAW/ARCHIVE.part`, which stays where a download breaks
  off and goes when all is done. It is checked before anything is unpacked;
  the files are unpacked aside and then renamed.

  Args:
    source: what to fetch.
    raw_dir: the RAW folder; made if need be.
    patience: when to give up on a server.
    progress: see `t5cr.progress`.

  Returns:
    Whether anything was put there; False if all was there already.

  Raises:
    DataError: the download fails, or brings another file than the published
      one; a file stands in the place of one of the source's and differs from
      it; another process is fetching it.
  """
  raw_dir = pathlib.Path(raw_dir)
  folder = raw_dir / source.name
  for path in (raw_dir, folder):
    if path.exists() and not path.is_dir():
      raise errors.located(path, "a folder is needed there, and this is a file")
  if _is_whole(source, folder):
    return False
  raw_dir.mkdir(parents=True, exist_ok=True)
  part = raw_dir / f"{source.archive}.part"
  with _full_disk_explained(raw_dir), _owned(part) as file:
    if _is_whole(source, folder):  # Another process may have been quicker.
      part.unlink()
      return False
    _obtain(source, part, file, patience, progress)
    digests = _put_in_place(source, part, folder, progress)
    _write_record(source, folder, digests)
    part.unlink()
  return True


@contextlib.contextmanager
def _full_disk_explained(raw_dir: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise errors.located(
      raw_dir,
      "no space is left there",
      remedy="Make room and fetch again; the download goes on where it was",
    ) from error


@contextlib.contextmanager
def _owned(part: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens the partial archive for this process alone.

  The lock is the kernel's, on the file itself: it ends with the process, so
  that none can be left behind.
  """
  while True:
    # Unbuffered: what has arrived is in the file whatever happens next.
    with open(part, "a+b", buffering=0) as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise errors.located(
          part,
          "another process is fetching this",
          remedy="Wait for it, or stop it",
        ) from error
      if not _is_at(file, part):
        continue  # Its owner was done and removed it: begin anew.
      try:
        yield file
      finally:
        if _is_at(file, part) and not part.stat().st_size:
          part.unlink()
      return


def _is_at(file: BinaryIO, path: pathlib.Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return False


def _obtain(
  source: Source,
  part: pathlib.Path,
  file: BinaryIO,
  patience: transfer.Patience | None,
  progress: transfer.Progress | None,
) -> None:
  """Completes the partial archive and checks it."""
  for resumed in (file.seek(0, 2) > 0, False):
    transfer.download(
      source.url,
      file,
      source.size,
      most=source.max_unpacked,
      stage=f"fetch {source.name}",
      patience=patience,
      progress=progress,
    )
    size, digest = part.stat().st_size, _sha256(part)
    if digest == source.sha256:
      return
    # A wrong beginning spoils all that is put behind it.
    file.truncate(0)
    if not resumed:
      raise errors.DataError(
        f"{source.url}: expected sha256 {source.sha256}, found {digest} in the "
        f"{size:,} bytes that came. This is not the published file: it was "
        "thrown away. Try again; if it stays so, the publisher has changed it."
      )


def _put_in_place(
  source: Source,
  part: pathlib.Path,
  folder: pathlib.Path,
  progress: transfer.Progress | None,
) -> dict[str, str]:
  """Unpacks aside, compares with what is there, renames.

  Returns:
    SHA-256 of each file, by name.
  """
  aside = folder.parent / f".{source.name}.unpacking"
  shutil.rmtree(aside, ignore_errors=True)  # Of a process that was killed.
  aside.mkdir()

  def on_bytes(done: int, total: int) -> None:
    if progress:
      stage = f"unpack {source.name}"
      progress(stage, -(-done // 1000), -(-total // 1000), "kB")

  try:
    digests = archives.unpack(
      part, source.members, aside, source.max_unpacked, on_bytes
    )
    there = [name for name in digests if os.path.lexists(folder / name)]
    differing = [
      str(folder / name)
      for name in there
      if not (folder / name).is_file()
      or _sha256(folder / name) != digests[name]
    ]
    if differing:
      raise _differing(source, differing)
    folder.mkdir(exist_ok=True)
    for name in digests:
      if name not in there:
        os.rename(aside / name, folder / name)
    return digests
  finally:
    shutil.rmtree(aside, ignore_errors=True)


def _differing(source: Source, paths: list[str]) -> errors.DataError:
  verb = "differs" if len(paths) == 1 else "differ"
  return errors.DataError(
    f"{', '.join(paths)} {verb} from the file of that name in {source.url}, "
    "and was left alone. Move it away and fetch again, or give another "
    "--raw folder."
  )


def _is_whole(source: Source, folder: pathlib.Path) -> bool:
  """Whether a folder holds what an earlier fetch of the source put there.

  A file with the size and time of change that were recorded is taken for the
  same; another one is read through.

  Raises:
    DataError: a file is another than it was.
  """
  record = _read_record(folder)
  if record.get("sha256") != source.sha256:
    return False
  recorded = record.get("files", {})
  if not set(source.members) <= set(recorded):
    return False
  present = [name for name in source.members if (folder / name).is_file()]
  differing = [
    str(folder / name)
    for name in present
    if _state(folder / name) != recorded[name].get("state")
    and _sha256(folder / name) != recorded[name].get("sha256")
  ]
  if differing:
    raise _differing(source, differing)
  return len(present) == len(source.members)


def _sha256(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: pathlib.Path) -> list[int]:
  status = path.stat()
  return [status.st_size, status.st_mtime_ns]


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
  try:
    record = json.loads((folder / RECORD).read_text())
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return {}  # Without a record the archive is fetched and compared.
  try:
    known = {name: dict(entry) for name, entry in record["files"].items()}
    return {"sha256": record["sha256"], "files": known}
  except (KeyError, TypeError, ValueError, AttributeError):
    return {}


def _write_record(
  source: Source, folder: pathlib.Path, digests: dict[str, str]
) -> None:
  record = {
    "url": source.url,
    "sha256": source.sha256,
    "files": {
      name: {"sha256": digest, "state": _state(folder / name)}
      for name, digest in digests.items()
    },
  }
  temporary = folder / f"{RECORD}.new"
  temporary.write_text(json.dumps(record, indent=2) + "\n")
  os.replace(temporary, folder / RECORD)
