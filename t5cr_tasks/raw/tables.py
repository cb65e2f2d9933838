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


_MOST = (1 << 63) - 1


def read_rows(
  path: pathlib.Path,
  columns: Sequence[str],
  bad_lines: files.BadLines,
) -> Iterator[tuple[int, dict[str, str]]]:
  """Reads a table that has text, quoted where it holds commas.

  A row is one line: a quote that is not closed in its line would else swallow
  the lines behind it.

  Args:
    path: a UTF-8 file whose first line names the columns.
    columns: the columns that must be there.
    bad_lines: takes rows with another number of fields than the header, and
      those with a quote that is not closed.

  Yields:
    (line number, {column: text as it stands}).

  Raises:
    DataError: a column is missing or stands twice, or there are too many bad
      lines.
  """
  first, text = files.first_line(path)
  header = _fields(text)
  if isinstance(header, str):
    raise errors.located(path, header, line=first)
  _check_columns(path, header, columns, first)
  for number, line in files.read_lines(path, bad_lines):
    if number <= first:
      continue
    row = _fields(line)
    if isinstance(row, str):
      bad_lines.add(errors.located(path, row, line=number))
    elif len(row) != len(header):
      bad_lines.add(
        errors.located(
          path,
          f"{len(row)} fields where the header has {len(header)}; text "
          "with a comma or a quote must stand in quotes",
          line=number,
        )
      )
    else:
      yield number, dict(zip(header, row, strict=True))


def _fields(line: str) -> list[str] | str:
  """The fields of a line, or what is wrong with it."""
  try:
    return next(csv.reader([line], strict=True))
  except csv.Error as error:
    return (
      f"not readable as comma-separated fields ({error}); a quote must be "
      "closed in its line, and one inside a quoted field stands twice"
    )


def _check_columns(
  path: pathlib.Path,
  header: Sequence[str],
  columns: Sequence[str],
  line: int = 1,
) -> None:
  for column in columns:
    count = header.count(column)
    if count != 1:
      shown = errors.printable(",".join(header), 200)
      raise errors.located(
        path,
        f"stands {count} times in the header" if count else "no such column",
        line=line,
        field=column,
        remedy=(
          f"The first line must name the columns {', '.join(columns)}, each "
          f'once; it reads "{shown}"'
        ),
      )


def parse_id(
  path: pathlib.Path, line: int, field: str, text: str
) -> int | errors.DataError:
  """The whole number that a field holds, or the error that it holds none.

  It is one from 0 to 2^63 - 1, which is what a data set can store.
  """
  digits = text.strip()
  if digits.isascii() and digits.isdecimal():
    if len(digits.lstrip("0")) < 20 and int(digits) <= _MOST:
      return int(digits)
    problem = f'"{errors.printable(text, 60)}" is larger than {_MOST}'
  else:
    problem = f'"{errors.printable(text, 60)}" is no whole number'
  return errors.located(path, problem, line=line, field=field)


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
  if len(header) > len(columns):
    # polars looks at the fields of a line only as far as it needs them.
    ragged = _ragged_lines(path, len(header))
  try:
    table = _scan_csv(path, columns, truncate=bool(ragged))
  except pl.exceptions.PolarsError:
    ragged = _ragged_lines(path, len(header))
    try:
      table = _scan_csv(path, columns, truncate=True)
    except pl.exceptions.PolarsError as error:
      reason = str(error).partition("\n")[0]
      raise errors.located(
        path, f"polars cannot read the table ({reason})"
      ) from error
  _check_height(path, table)
  if not ragged and _is_good(table, limits or {}):
    return table
  good = pl.all_horizontal(
    *(pl.col(name).is_not_null() for name in columns),
    *(pl.col(name).is_between(*ends) for name, ends in (limits or {}).items()),
  )
  numbered = table.with_row_index("line", offset=2)
  kept = numbered.filter(good & ~pl.col("line").is_in(ragged))
  if kept.height == table.height:
    return table
  suspects = numbered.filter(~good | pl.col("line").is_in(ragged))
  reported = _report(path, header, suspects, limits or {}, bad_lines)
  if kept.height + reported != table.height:
    raise errors.InternalError(
      f"{path}: of {table.height} lines {kept.height} were kept and {reported} "
      "left out. Nothing was written. This is a fault of t5cr: report it."
    )
  return kept.drop("line")


def _check_height(path: pathlib.Path, table: pl.DataFrame) -> None:
  """Raises InternalError unless each line behind the header is a row."""
  lines = files.count_lines(path) - 1
  if table.height != max(0, lines):
    raise errors.InternalError(
      f"{path}: polars {pl.__version__} read {table.height} rows of {lines} "
      "lines. Nothing was written. This is a fault of t5cr: report it."
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
  line, text = files.first_line(path)
  if line > 1:
    raise errors.located(
      path,
      "blank",
      line=1,
      remedy=f"The first line must name the columns {', '.join(columns)}",
    )
  header = text.split(",")
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
) -> int:
  """Notes each suspect row as a bad line, unless the line is blank.

  Returns:
    How many of them there are, blank ones too.
  """
  rows = {row["line"]: row for row in suspects.iter_rows(named=True)}
  met = 0
  for number, raw in files.raw_lines(path):
    if number not in rows:
      continue
    met += 1
    if raw.strip():
      fields = raw.decode("utf-8", errors="replace").rstrip("\r\n").split(",")
      bad_lines.add(
        _row_error(path, number, header, fields, rows[number], limits)
      )
  return met


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
        path,
        f'"{errors.printable(text, 60)}" is no number',
        line=line,
        field=name,
      )
    if name in limits and not limits[name][0] <= value <= limits[name][1]:
      least, greatest = limits[name]
      return errors.located(
        path,
        f"{errors.printable(text, 60)} is not between {least:g} and "
        f"{greatest:g}",
        line=line,
        field=name,
      )
  return errors.located(path, "not readable as numbers", line=line)
