"""Comma-separated tables: small ones with text, and large ones of numbers."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from etils import epy

from t5cr_tasks import errors
from t5cr_tasks.raw import files

# polars takes half a second to load, which importing the tasks should not.
with epy.lazy_imports():
  import polars as pl


def read_rows(
  path: pathlib.Path,
  columns: Sequence[str],
  bad_lines: files.BadLines,
) -> Iterator[tuple[int, dict[str, str]]]:
  """Reads a table that has text, quoted where it holds commas.

  Args:
    path: a UTF-8 file whose first line names the columns.
    columns: the columns that must be there.
    bad_lines: takes rows with another number of fields than the header.

  Yields:
    (line number on which the row ends, {column: text as it stands}).

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  numbered: list[int] = [0]

  def lines() -> Iterator[str]:
    for number, line in files.read_lines(path, bad_lines):
      numbered[0] = number
      yield line + "\n"

  reader = csv.reader(lines())
  header = next(reader, [])
  _check_columns(path, header, columns)
  try:
    for row in reader:
      if len(row) != len(header):
        bad_lines.add(
          errors.located(
            path,
            f"{len(row)} fields where the header has {len(header)}; text "
            "with a comma or a quote must stand in quotes",
            line=numbered[0],
          )
        )
        continue
      yield numbered[0], dict(zip(header, row, strict=True))
  except csv.Error as error:
    raise errors.located(path, str(error), line=numbered[0]) from error


def _check_columns(
  path: pathlib.Path, header: Sequence[str], columns: Sequence[str]
) -> None:
  for column in columns:
    if column not in header:
      raise errors.located(
        path,
        "no such column",
        line=1,
        field=column,
        remedy=(
          f"The first line must name the columns {', '.join(columns)}; "
          f'it reads "{",".join(header)[:200]}"'
        ),
      )


def parse_id(
  path: pathlib.Path, line: int, field: str, text: str
) -> int | errors.DataError:
  """The whole number that a field holds, or the error that it holds none."""
  if text.strip().isdecimal():
    return int(text)
  return errors.located(
    path, f'"{text}" is no whole number', line=line, field=field
  )


def read_numbers(
  path: pathlib.Path,
  columns: Mapping[str, type],
  bad_lines: files.BadLines,
  limits: Mapping[str, tuple[float, float]] | None = None,
) -> pl.DataFrame:
  """Reads columns of numbers from a large table without quoted fields.

  Args:
    path: a UTF-8 file whose first line names the columns.
    columns: the columns to read, each with int or float.
    bad_lines: takes the lines where one of these columns holds no number, a
      number beyond its limits, or where there are too many fields.
    limits: least and greatest legal value of a column, both inclusive.

  Returns:
    The columns in the order asked for, bad lines left out, file order.

  Raises:
    DataError: a column is missing, or there are too many bad lines.
  """
  header = read_header(path, list(columns))
  ragged: list[int] = []
  try:
    table = _scan_csv(path, columns, truncate=False)
  except pl.exceptions.PolarsError:
    ragged = _ragged_lines(path, len(header))
    table = _scan_csv(path, columns, truncate=True)
  if not ragged and _is_good(table, limits or {}):
    return table
  good = pl.all_horizontal(
    *(pl.col(name).is_not_null() for name in columns),
    *(pl.col(name).is_between(*ends) for name, ends in (limits or {}).items()),
  )
  suspects = table.with_row_index("line", offset=2).filter(
    ~good | pl.col("line").is_in(ragged)
  )
  if suspects.is_empty():
    return table
  _report(path, header, suspects, limits or {}, bad_lines)
  return (
    table.with_row_index("line", offset=2)
    .filter(good & ~pl.col("line").is_in(ragged))
    .drop("line")
  )


def _is_good(
  table: pl.DataFrame, limits: Mapping[str, tuple[float, float]]
) -> bool:
  """Whether each cell holds a number within its limits."""
  # Quicker than to look at each row, and hardly ever not so.
  if not table.height or any(table.null_count().row(0)):
    return False
  return all(
    table[name].is_between(least, greatest).all()
    for name, (least, greatest) in limits.items()
  )


def read_header(path: pathlib.Path, columns: Sequence[str]) -> list[str]:
  """The columns that a table without quoted fields has.

  Raises:
    DataError: one of `columns` is not among them.
  """
  with path.open("rb") as file:
    first = file.readline().removeprefix(b"\xef\xbb\xbf")
  header = first.decode("utf-8", errors="replace").strip().split(",")
  _check_columns(path, header, columns)
  return header


def _scan_csv(
  path: pathlib.Path,
  columns: Mapping[str, type],
  truncate: bool,
) -> pl.DataFrame:
  # Cells that do not parse become null, and are looked at one by one after.
  return pl.read_csv(
    path,
    columns=list(columns),
    schema_overrides=dict(columns),
    ignore_errors=True,
    quote_char=None,
    truncate_ragged_lines=truncate,
  ).select(list(columns))


def _ragged_lines(path: pathlib.Path, num_fields: int) -> list[int]:
  with path.open("rb") as file:
    return [
      number
      for number, line in enumerate(file, start=1)
      if line.count(b",") >= num_fields
    ]


def _report(
  path: pathlib.Path,
  header: Sequence[str],
  suspects: pl.DataFrame,
  limits: Mapping[str, tuple[float, float]],
  bad_lines: files.BadLines,
) -> None:
  """Notes each suspect row as a bad line, unless the line is blank."""
  rows = {row["line"]: row for row in suspects.iter_rows(named=True)}
  with path.open("rb") as file:
    for number, raw in enumerate(file, start=1):
      if number not in rows or not raw.strip():
        continue
      fields = raw.decode("utf-8", errors="replace").rstrip("\r\n").split(",")
      bad_lines.add(
        _row_error(path, number, header, fields, rows[number], limits)
      )


def _row_error(
  path: pathlib.Path,
  line: int,
  header: Sequence[str],
  fields: Sequence[str],
  row: Mapping[str, float | None],
  limits: Mapping[str, tuple[float, float]],
) -> errors.DataError:
  if len(fields) != len(header):
    return errors.located(
      path,
      f"{len(fields)} fields where the header has {len(header)}",
      line=line,
    )
  for name, value in row.items():
    if name == "line":
      continue
    text = fields[header.index(name)]
    if value is None:
      return errors.located(
        path, f'"{text}" is no number', line=line, field=name
      )
    if name in limits and not limits[name][0] <= value <= limits[name][1]:
      least, greatest = limits[name]
      return errors.located(
        path,
        f"{text} is not between {least:g} and {greatest:g}",
        line=line,
        field=name,
      )
  return errors.located(path, "not readable as numbers", line=line)
