"""Large raw tables read in parallel, with the errors of a serial reading.

Byte ranges alone do not know at which line they begin. Whoever starts the
pipeline reads each raw file through anyway, for its SHA-256; `split_lines`
reads it once more and notes the line at which each part begins. So an error
names the line that it would name otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable

from etils import epath, epy

from t5cr_tasks.errors import DataError
from t5cr_tasks.raw import counts, files

# polars takes half a second to load, which importing the tasks should not.
with epy.lazy_imports():
  import polars as pl

PART_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class Part:
  """Whole lines of a raw table, without the header.

  Attributes:
    path: the file.
    start: the first byte.
    stop: the byte behind the last.
    line: the number of the first line.
  """

  path: str
  start: int
  stop: int
  line: int


def split_lines(
  path: pathlib.Path, part_bytes: int | None = None
) -> list[Part]:
  """Cuts a table into parts of about so many bytes."""
  parts = []
  with path.open("rb") as file:
    start, line = len(file.readline()), 2
    while block := file.read(part_bytes or PART_BYTES):
      block += file.readline()
      parts.append(Part(str(path), start, start + len(block), line))
      start += len(block)
      line += block.count(b"\n")
  return parts


class Reading:
  """What was counted and what was malformed in a part, or in several.

  Attributes:
    tallies: what was read, kept and dropped.
    bad: how many lines were bad.
    bad_lines: (line, what is wrong there) of the first of them, by line.
  """

  def __init__(
    self,
    tallies: counts.Tallies | None = None,
    bad: int = 0,
    bad_lines: Iterable[tuple[int, str]] = (),
  ):
    """Nothing yet, or what is given."""
    self.tallies = counts.Tallies() if tallies is None else tallies
    self.bad = bad
    self.bad_lines = list(bad_lines)

  def add_to(self, tallies: counts.Tallies, bad_lines: files.BadLines) -> None:
    """Counts all this where a serial reading would have counted it.

    Raises:
      DataError: there are more bad lines than allowed.
    """
    for _, message in self.bad_lines:
      bad_lines.add(DataError(message))
    for name, tally in self.tallies.items():
      tallies[name].add(tally)

  def to_json(self) -> str:
    """A text that `from_json` reads."""
    return json.dumps(
      {
        "tallies": self.tallies.to_dict(),
        "bad": self.bad,
        "bad_lines": self.bad_lines,
      }
    )

  @classmethod
  def from_json(cls, text: str) -> Reading:
    """What `to_json` wrote."""
    content = json.loads(text)
    tallies = counts.Tallies()
    for name, tally in content["tallies"].items():
      dropped, noted = map(Counter, (tally["dropped"], tally["noted"]))
      tallies[name] = counts.Tally(tally["read"], tally["kept"], dropped, noted)
    return cls(tallies, content["bad"], content["bad_lines"])


def merge(readings: Iterable[Reading], *, keep: int) -> Reading:
  """One reading of several; the same in whatever order they come.

  Args:
    readings: of parts.
    keep: how many bad lines to remember.
  """
  total = Reading()
  for reading in readings:
    for name, tally in reading.tallies.items():
      total.tallies[name].add(tally)
    total.bad += reading.bad
    total.bad_lines += reading.bad_lines
  total.bad_lines = sorted(total.bad_lines)[:keep]
  return total


class _Noted(files.BadLines):
  """Notes the first bad lines and raises for none."""

  def __init__(self, keep: int):
    super().__init__()
    self._keep = keep

  def add(self, error: DataError) -> None:
    self.count += 1
    if len(self.messages) < self._keep:
      self.messages.append(str(error))


def read_part(
  part: Part,
  read: Callable[[pathlib.Path, files.BadLines], pl.DataFrame],
  tally: str,
  *,
  keep: int,
) -> tuple[pl.DataFrame, Reading]:
  """Reads a part as the table that it is.

  Args:
    part: the lines.
    read: reads a whole table, such as `raw.movielens.read_ratings`.
    tally: the tally that counts bad lines as dropped.
    keep: how many bad lines to remember.

  Returns:
    (what `read` makes of the lines, what was wrong in them).
  """
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "part.csv"
    with epath.Path(part.path).open("rb") as file:
      header = file.readline()
      file.seek(part.start)
      copy.write_bytes(header + file.read(part.stop - part.start))
    noted = _Noted(keep)
    table = read(copy, noted)
  reading = Reading(bad=noted.count)
  reading.tallies[tally].drop("bad line", noted.count)
  for message in noted.messages:
    # As `errors.located` begins: the file and the line.
    line, _, problem = message.removeprefix(f"{copy}:").partition(":")
    number = int(line) - 2 + part.line
    reading.bad_lines.append((number, f"{part.path}:{number}:{problem}"))
  return table, reading
