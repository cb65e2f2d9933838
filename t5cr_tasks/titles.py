"""Movie titles: one spelling of each, and how they stand in running text.

Raw titles differ by source: MovieLens writes "Incredibles, The (2004)", ReDial
"Wonder Woman  (2017)". All text that a model reads or writes uses the form that
`clean_title` gives, and marks a title in a dialogue as `@ Title (Year) @`.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib import parse

# Articles that catalogues move behind a title, in the languages of MovieLens.
_ARTICLES = (
  "The|An|A|Le|La|Les|Un|Une|El|Los|Las|Una|Il|Lo|I|Gli|Uno|Der|Die|Das|Ein"
  "|Eine|Den|Det|En|Ett|De|Het|O|Os|As|Um|Uma|Da"
)
_MOVED_ARTICLE = re.compile(
  r"""(?P<alias>(?:a\.k\.a\.|aka)\s+)?   # "(a.k.a. Big Brawl, The)"
    (?P<name>\S.*?),\s+
    (?:(?P<article>"""
  + _ARTICLES
  + r""")|(?P<elided>L['’]))
    (?P<rest>\s*:.*)?""",  # "Crow, The: Wicked Prayer"
  re.IGNORECASE | re.VERBOSE,
)
# No number of a character has more digits, and Python converts no text of
# thousands of them.
_ENTITY = re.compile(r"&(?:#\d{1,20}|#[xX][0-9a-fA-F]{1,20}|[A-Za-z]\w*);")
# The vocabulary's normalisation makes an @ of these.
_MARKERS = str.maketrans("＠﹫", "@@")
_PERCENT = re.compile(r"(?:%[0-9A-F]{2})+")
_PART = re.compile(r"[^()]+")
# No title is near that long; one of thousands of articles takes minutes.
_MAX_NAME = 400
_YEAR_AT_END = re.compile(r"\s*\((\d{4})\)$")
_YEAR = re.compile(r"\(\d{4}\)")
_WORD = re.compile(r"\w+")


def plain_text(text: str) -> str:
  """Resolves HTML entities and puts all white space down to single spaces.

  Only entities that end in `;` are resolved, so that "Q&A" stays.

  >>> plain_text('Lock, Stock &amp; Barrel\\r\\n')
  'Lock, Stock & Barrel'
  """
  if "&" in text:
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
  text = unicodedata.normalize("NFC", text).translate(_MARKERS)
  return " ".join(text.split())


@functools.lru_cache(maxsize=1 << 16)
def clean_title(raw: str) -> str:
  """The one spelling of a title that is used everywhere.

  Entities, percent escapes ("Why Him%3F") and line ends are resolved, one
  space stands before the year, articles go back to the front, also inside
  alternative titles. A title without a year stays without. An @ would read
  as a title marker in a dialogue, so it becomes "at" (a word of its own) or
  "a" (inside a word).

  >>> clean_title('City of Lost Children, The (Enfants perdus, Les)  (1995)')
  'The City of Lost Children (Les Enfants perdus) (1995)'

  Args:
    raw: a title as a raw file gives it.

  Returns:
    The clean title; cleaning it again changes nothing.
  """
  cleaned = _cleaned(raw)
  while cleaned != raw:  # "&amp;amp;" is two steps away from "&".
    raw, cleaned = cleaned, _cleaned(cleaned)
  return cleaned


def _cleaned(raw: str) -> str:
  """One step towards a clean title."""
  if "%" in raw:
    raw = _PERCENT.sub(lambda match: parse.unquote(match[0]), raw)
  title = plain_text(raw).replace(" @ ", " at ").replace("@", "a")
  title = _YEAR_AT_END.sub(r" (\1)", title)
  if "," in title:
    title = _PART.sub(lambda match: _front_article(match[0]), title)
  return title.strip()


def _front_article(part: str) -> str:
  name = part.strip()
  match = len(name) <= _MAX_NAME and _MOVED_ARTICLE.fullmatch(name)
  if not match:
    return part
  article = f"{match['article']} " if match["article"] else match["elided"]
  moved = "".join(
    [match["alias"] or "", article, match["name"], match["rest"] or ""]
  )
  return part.replace(name, moved)


def has_year(title: str) -> bool:
  """Whether a clean title ends in its year, as in "Alien (1979)"."""
  return bool(_YEAR_AT_END.search(title))


def is_blank(title: str) -> bool:
  """Whether a title says nothing: empty, or a year alone as in "(2007)"."""
  words = _WORD.finditer(title)
  first = next(words, None)
  if first is None:
    return True
  if next(words, None) or len(first[0]) != 4 or not first[0].isdecimal():
    return False
  before, after = title[: first.start()][-1:], title[first.end() :][:1]
  # A spreadsheet turned some lone "(2007)" of ReDial's list into "-2007".
  return before == "-" or (before == "(" and after == ")")


def mark_title(title: str) -> str:
  """The title as it stands in a dialogue: `@ Alien (1979) @`."""
  return f"@ {title} @"


def title_key(title: str) -> str:
  """A key that is equal for two spellings of one title.

  Compatibility characters are folded too (½ and the like), because the
  vocabulary's normalisation rewrites them in all that a model generates.
  """
  folded = unicodedata.normalize("NFKC", clean_title(title)).casefold()
  return " ".join(folded.split())


def _title_spans(text: str) -> Iterator[tuple[int, int, str]]:
  """Yields (start, end, clean title) of each marked title, markers included."""
  start = text.find("@")
  while start >= 0:
    close = text.find("@", start + 1)
    content = text[start + 1 : close if close >= 0 else len(text)]
    end = close + 1 if close >= 0 else len(text)
    year = _YEAR.search(content)
    if year:
      after = content[year.end() :].strip()
      # Words behind the year mean that the title was left open, and that the
      # @ behind them opens the next one.
      if after and not after.startswith("("):
        content = content[: year.end()]
        end = start + 1 + year.end()
    title = clean_title(content)
    if title:
      yield start, end, title
    start = text.find("@", end)


def extract_titles(text: str) -> list[str]:
  """The titles marked in a text, in order, clean, repeats included.

  A title that is not closed runs to the end of its `(year)`, or else to the
  end of the text. Markers with nothing between them are ignored.

  >>> extract_titles('@ Alien (1979) @ or @ Jaws (1975) then')
  ['Alien (1979)', 'Jaws (1975)']
  """
  return [title for _, _, title in _title_spans(text)]


def join_spaced(pieces: list[tuple[str, bool]]) -> str:
  """Joins text and titles so that titles stand apart from words.

  Args:
    pieces: (text, whether it is a title or its placeholder) in order.

  Returns:
    The pieces in a row, with a space before a title unless a bracket or quote
    opens there, and behind it unless punctuation follows; white space is put
    down to single spaces.
  """
  joined = ""
  previous_is_title = False
  for piece, is_title in pieces:
    if not piece:
      continue
    if is_title and joined and joined[-1] not in "([{\"'“‘":
      joined += " "
    elif previous_is_title and (piece[0].isalnum() or piece[0] in "([{@&"):
      joined += " "
    joined += piece
    previous_is_title = is_title
  return " ".join(joined.split())


def replace_titles(text: str, placeholder: str) -> str:
  """Puts a placeholder where each marked title stands.

  The spans are those of `extract_titles`; markers with nothing between them
  stay as they are.

  >>> replace_titles('Seen @ Alien (1979) @?', '__unk__')
  'Seen __unk__?'

  Args:
    text: running text with `@ Title (Year) @`.
    placeholder: what stands for one title.

  Returns:
    The text with one placeholder per title and single spaces.
  """
  pieces: list[tuple[str, bool]] = []
  position = 0
  for start, end, _ in _title_spans(text):
    pieces += [(text[position:start], False), (placeholder, True)]
    position = end
  pieces.append((text[position:], False))
  return join_spaced(pieces)
