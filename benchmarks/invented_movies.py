"""Invented movies for the benchmarks, titled as oddly as MovieLens 25M's."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib

import numpy as np

# How many of MovieLens 25M's 62,423 titles have each oddity; all others read
# "Title (Year)". A copy of another size has its share of each, at least one.
NUM_MOVIES = 62_423
ODDITIES = {
  "no year": 409,
  "space behind the year": 154,
  "range of years": 1,
  "year elsewhere": 2,
  "article behind the name": 3_783,
  "other title in brackets": 4_781,
  "a.k.a.": 298,
  "quotes": 11,
  "title of another movie": 98,
}

ADJECTIVES = """Silent Golden Crimson Distant Hidden Broken Endless Frozen
Restless Hollow Gentle Savage Burning Forgotten Lonely Electric Velvet Stolen
Bitter Wicked Painted Sleeping Midnight Paper Iron Glass Last First Perfect
Secret Blue Dark Wild Young Lost Little Great Good Strange Empty""".split()
NOUNS = """Harbor Lantern Orchard River Empire Daughter Stranger Garden
Soldier Winter Machine Island Letter Mirror Promise Shadow Summer Train Kingdom
Dancer Hunter Highway Dream Angel Night Wolf Affair Heart Game House City Moon
Girl Boy King Queen Legend Ghost Murder Wedding Doctor Detective Storm Bridge
Tower Valley Desert Ocean Forest Mountain Voyage Return Escape Conspiracy
Brother Sister Widow Thief Painter Pilot""".split()
PLACES = """Avalon Brindle Calder Dunmore Estoril Fairhaven Galway Hollins
Istria Juniper Kestrel Lisbon Marlow Norwich Oakdale Palermo Quincy Ravenna
Salem Tangier Umbria Verona Whitby Xanadu Yarrow Zagreb Arden Bergen Cairo Delft
Elba Florence Ghent Havana Izmir Jaipur Kyoto Lima Malmo Nice""".split()
FOREIGN = (
  "Ciudad de los niños",
  "Été meurtrier",
  "Größte Traum",
  "Nuit étoilée",
  "Bête du Gévaudan",
  "Señora de nadie",
  "Männer am Fluß",
  "Året gjennom Børfjord",
  "Città perduta",
  "Tóquio à noite",
)
ARTICLES = ("The", "A", "An")
FOREIGN_ARTICLES = ("La", "Le", "El", "Der", "Il", "Les")
GENRES = """Action Adventure Animation Children Comedy Crime Documentary Drama
Fantasy Film-Noir Horror IMAX Musical Mystery Romance Sci-Fi Thriller War
Western""".split()


@dataclasses.dataclass(frozen=True)
class Movies:
  """What `movies.csv` says.

  Attributes:
    ids: [movies] ascending.
    titles: as MovieLens spells them.
    genres: joined by bars.
  """

  ids: np.ndarray
  titles: list[str]
  genres: list[str]


def _names(count: int, rng: np.random.Generator) -> list[str]:
  """Distinct names without an article."""
  of_place = len(ADJECTIVES) * len(NOUNS) * len(PLACES)
  plain = len(ADJECTIVES) * len(NOUNS)
  names = []
  for code in rng.choice(plain + of_place, count, replace=False).tolist():
    place, code = divmod(code, plain)
    adjective, noun = divmod(code, len(NOUNS))
    name = f"{ADJECTIVES[adjective]} {NOUNS[noun]}"
    names.append(f"{name} of {PLACES[place - 1]}" if place else name)
  return names


def _aside(
  oddities: set[str], name: str, place: int, rng: np.random.Generator
) -> str:
  """The second title of a movie, in brackets, or nothing."""
  if "a.k.a." in oddities:
    return f" (a.k.a. {NOUNS[place % len(NOUNS)]} {name}, The)"
  if "other title in brackets" not in oddities:
    return ""
  other = f"{FOREIGN[place % len(FOREIGN)]} {place}"
  if rng.random() < 0.5:
    other += f", {FOREIGN_ARTICLES[place % len(FOREIGN_ARTICLES)]}"
  return f" ({other})"


def _title(
  name: str, oddities: set[str], place: int, rng: np.random.Generator
) -> str:
  year = int(rng.triangular(1915, 2012, 2019))
  if "quotes" in oddities:
    first, rest = name.split(" ", 1)
    name = f'{first} "{rest}"'
  aside = _aside(oddities, name, place, rng)
  if "article behind the name" in oddities:
    name += f", {ARTICLES[place % len(ARTICLES)]}"
  if "no year" in oddities:
    return name + aside
  if "range of years" in oddities:
    return f"{name}{aside} ({year}-{year + 3})"
  if "year elsewhere" in oddities:
    return f"{name} ({year}){aside or ' Part 2'}"
  blank = " " if "space behind the year" in oddities else ""
  return f"{name}{aside} ({year}){blank}"


def share(count: int, movies: int) -> int:
  """How many of so many movies have what `count` of MovieLens 25M's have."""
  return max(1, round(count * movies / NUM_MOVIES))


def make(count: int, max_id: int, rng: np.random.Generator) -> Movies:
  """Invents movies.

  Args:
    count: how many.
    max_id: ids are drawn from 1 to this one.
    rng: all follows from it.
  """
  ids = np.sort(rng.choice(np.arange(1, max_id + 1), count, replace=False))
  oddities: list[set[str]] = [set() for _ in range(count)]
  # A title has its year in one place, and one aside at most.
  alternatives = (
    ("no year", "space behind the year", "range of years", "year elsewhere"),
    ("a.k.a.", "other title in brackets"),
    ("article behind the name",),
    ("quotes",),
  )
  for names in alternatives:
    places = iter(rng.permutation(count).tolist())
    for name in names:
      for _ in range(share(ODDITIES[name], count)):
        oddities[next(places)].add(name)
  titles = [
    _title(name, odd, place, rng)
    for place, (name, odd) in enumerate(
      zip(_names(count, rng), oddities, strict=True)
    )
  ]
  plain = [place for place, odd in enumerate(oddities) if not odd]
  pairs = 2 * min(
    share(ODDITIES["title of another movie"], count), len(plain) // 2
  )
  chosen = rng.choice(plain, pairs, replace=False).tolist()
  for first, second in zip(chosen[::2], chosen[1::2], strict=True):
    titles[max(first, second)] = titles[min(first, second)]
  genres = [
    "|".join(sorted(rng.choice(GENRES, rng.integers(1, 4), replace=False)))
    for _ in range(count)
  ]
  return Movies(ids, titles, genres)


def tags(count: int, rng: np.random.Generator) -> list[str]:
  """Distinct tags, in alphabetical order as the tag genome has them."""
  made = {f"{decade}0s" for decade in range(192, 202)}
  while len(made) < count:
    words = rng.choice([*ADJECTIVES, *NOUNS], rng.integers(1, 3), replace=False)
    made.add(" ".join(words).lower())
  return sorted(made)[:count]


def write_table(
  path: pathlib.Path, header: tuple[str, ...], rows: list[tuple]
) -> None:
  """Writes a small table as MovieLens does: UTF-8, Windows line ends."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\r\n")
  writer.writerow(header)
  writer.writerows(rows)
  path.write_bytes(text.getvalue().encode())


def review(rng: np.random.Generator) -> str:
  """A review of a few sentences."""
  count = int(rng.integers(3, 11))
  words = rng.integers(0, 1 << 30, (count, 4)).tolist()
  return " ".join(
    f"The {ADJECTIVES[a % len(ADJECTIVES)].lower()}"
    f" {NOUNS[b % len(NOUNS)].lower()} is what makes this film, with a"
    f" {ADJECTIVES[c % len(ADJECTIVES)].lower()}"
    f" {NOUNS[d % len(NOUNS)].lower()} behind it."
    for a, b, c, d in words
  )
