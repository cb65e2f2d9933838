"""Hostile raw files, and slow plain readers to compare the real ones with.

The tests draw a few dozen files of each kind; by hand

  pytest -m long tests/tasks/test_fuzz_raw.py

draws thousands, other ones each time.
"""

import csv
import re
from collections.abc import Callable, Mapping

import hypothesis
from hypothesis import strategies as st

from t5cr_tasks import errors

# What breaks readers, as a whole field, within one, or as a line.
_NASTY = [
  b"",
  b" ",
  b"\t",
  b"\r",
  b'"',
  b'""',
  b'"a',
  b'a"b"',
  b",",
  b"\0",
  b"\xff",
  b"\xc3",
  b"\xed\xa0\x80",  # A surrogate, as UTF-8 must not write it.
  b"\xef\xbb\xbf",
  b"\xff\xfe",
  b"\xe2\x80\xa8",  # U+2028, a line end for some.
  b"\xc2\x85",
  b"\x1c",
  b"@",
  b"\xef\xbc\xa0",  # A fullwidth @.
  b"&#" + b"9" * 30 + b";",
  b"&amp;amp;",
  b"%2525",
  b"(1999)",
  b"Thing, The (1982)",
  b"nan",
  b"NaN",
  b"inf",
  b"-Infinity",
  b"1e999",
  b"-0",
  b"+5",
  b" 5",
  b"5 ",
  b"5.",
  b".5",
  b"4.5",
  b"5e0",
  b"1_0",
  b"0x1",
  b"007",
  b"9223372036854775807",
  b"9223372036854775808",
  b"-9223372036854775808",
  b"9" * 5000,
  b"\xd9\xa3",  # A three that is not ASCII.
  b"null",
  b"true",
  b"x" * 200_000,
  b"[" * 3000,
  b'{"a":' * 3000,
  rb'"\ud800"',
  b"\x1f\x8b\x08\x00",
  b"PK\x03\x04",
]

_DIGITS = st.integers(0, 30).map(lambda number: b"%d" % number)
_WORDS = st.text(max_size=12).map(
  lambda text: text.encode("utf-8", "surrogatepass")
)
FIELDS = st.one_of(
  _DIGITS,
  _DIGITS,
  _WORDS,
  st.integers(0, len(_NASTY) - 1).map(_NASTY.__getitem__),
  st.binary(max_size=8),
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b""])


@st.composite
def files(draw, head: bytes, lines: st.SearchStrategy[bytes]) -> bytes:
  """A file of some lines, as a whole now and then spoilt."""
  mark = draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"]))
  end = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))
  body = head + end if head else b""
  for line in draw(st.lists(lines, max_size=8)):
    body += line + draw(st.one_of(st.just(end), ENDS))
  content = mark + body
  spoil = draw(st.integers(0, 19))
  if spoil == 0:
    place = draw(st.integers(0, len(content)))
    content = content[:place] + draw(FIELDS) + content[place:]
  elif spoil == 1:
    content = content[: draw(st.integers(0, len(content)))]
  elif spoil == 2:
    content = content.decode("utf-8", "replace").encode("utf-16")
  elif spoil == 3:
    content = draw(st.binary(max_size=200))
  return content


def table(columns: list[bytes], good: st.SearchStrategy[list[bytes]]):
  """Tables with these columns, some in another order or twice."""
  heads = st.one_of(
    st.just(columns),
    st.just(columns),
    st.permutations(columns),
    st.lists(st.sampled_from([*columns, b"x", b" x", b'"x"']), max_size=6),
    st.just([*columns, columns[0]]),
    st.just([*columns, b"extra"]),
  )
  line = st.one_of(
    good,
    good,
    st.lists(FIELDS, min_size=len(columns), max_size=len(columns)),
    st.lists(FIELDS, max_size=6),
  ).map(b",".join)
  return heads.flatmap(lambda head: files(b",".join(head), line))


def settled(examples: int, *, at_length: bool) -> hypothesis.settings:
  """The same examples each time, or at length other ones each time."""
  return hypothesis.settings(
    max_examples=examples,
    derandomize=not at_length,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
  )


def text_lines(content: bytes) -> list[tuple[int, bytes, bool]]:
  """(number, line without its end, whether it is text) of what is not blank."""
  lines = []
  parts = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
  for number, line in enumerate(parts, 1):
    line = line.rstrip(b"\r")
    try:
      text = line.decode("utf-8")
    except UnicodeDecodeError:
      lines.append((number, line, False))
      continue
    if b"\0" in line or b"\r" in line:
      lines.append((number, line, False))
    elif text.strip():
      lines.append((number, line, True))
  return lines


def plain_rows(content: bytes) -> tuple[list[dict[str, str]], int]:
  """A table of text, row by row: (rows, bad lines); its header must be one."""
  first, *rest = text_lines(content)
  header = next(csv.reader([first[1].decode()], strict=True))
  rows, bad = [], 0
  for _, line, is_text in rest:
    try:
      assert is_text
      row = next(csv.reader([line.decode()], strict=True))
      assert len(row) == len(header)
    except (AssertionError, csv.Error):
      bad += 1
      continue
    rows.append(dict(zip(header, row, strict=True)))
  return rows, bad


_INT = re.compile(rb"[ \t]*[+-]?[0-9]+\r?")
_FLOAT = re.compile(
  rb"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\r?"
)


def plain_numbers(
  content: bytes,
  columns: Mapping[str, type],
  limits: Mapping[str, tuple[float, float]],
) -> tuple[list[tuple[float, ...]], list[int]]:
  """A table of numbers, line by line: (rows, numbers of the bad lines)."""
  first, *rest = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
  header = first.decode().rstrip("\r").split(",")
  rows, bad = [], []
  for number, line in enumerate(rest, 2):
    if not line.strip():
      continue
    fields = line.split(b",")  # A field may end in one \r, as polars has it.
    row = [
      _number(fields[place : place + 1], kind, limits.get(name))
      for name, kind in columns.items()
      for place in [header.index(name)]
    ]
    if len(fields) > len(header) or None in row:
      bad.append(number)
    else:
      rows.append(tuple(row))
  return rows, bad


def _number(cell, kind, limits):
  if not cell or not (_INT if kind is int else _FLOAT).fullmatch(cell[0]):
    return None
  text = cell[0].strip()
  if kind is int:
    digits = text.lstrip(b"+-").lstrip(b"0")
    value = int(text) if len(digits) < 20 else 1 << 64
    limits = (-(1 << 63), (1 << 63) - 1)
  else:
    value = float(text)
  return value if limits is None or limits[0] <= value <= limits[1] else None


def outcome(read: Callable[[], object], path) -> object:
  """What a reader gives, or its error, which must be one for people."""
  try:
    return read()
  except errors.DataError as error:
    message = str(error)
    assert message.startswith(f"{path}"), message
    assert message.endswith("."), message
    assert message.isprintable() and len(message) < 2000, message
    return error
