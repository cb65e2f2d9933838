"""Titles: one spelling, markers found whether or not they are closed."""

import csv

import pytest

from t5cr_tasks import titles


@pytest.mark.parametrize(
  ("raw", "clean"),
  [
    # ReDial: two spaces before the year, trailing space, no year.
    ("Wonder Woman  (2017)", "Wonder Woman (2017)"),
    ("Anchorman ", "Anchorman"),
    ("Kill Bill", "Kill Bill"),
    ("Why Him%3F (2016)", "Why Him? (2016)"),
    ("Am%C3%A9lie (2001)", "Amélie (2001)"),
    # Entities and line ends.
    ("Fast &amp; Furious  (2009)", "Fast & Furious (2009)"),
    ("Alien\r\n(1979)", "Alien (1979)"),
    ("Q&A (1990)", "Q&A (1990)"),
    # No space before the year.
    ("Heat(1995)", "Heat (1995)"),
    # MovieLens: articles, also in alternative titles and other languages.
    ("Incredibles, The (2004)", "The Incredibles (2004)"),
    ("Blind Side, The  (2009)", "The Blind Side (2009)"),
    ("American Tail, An (1986)", "An American Tail (1986)"),
    (
      "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
      "The City of Lost Children (La Cité des enfants perdus) (1995)",
    ),
    (
      "Avventura, L' (Adventure, The) (1960)",
      "L'Avventura (The Adventure) (1960)",
    ),
    (
      "His Secret Life (a.k.a. Ignorant Fairies, The) (Fate ignoranti, Le)"
      " (2001)",
      "His Secret Life (a.k.a. The Ignorant Fairies) (Le Fate ignoranti)"
      " (2001)",
    ),
    ("Crow, The: Wicked Prayer (2005)", "The Crow: Wicked Prayer (2005)"),
    (
      "Lord of the Rings: The Two Towers, The (2002)",
      "The Lord of the Rings: The Two Towers (2002)",
    ),
    (
      "2 Fast 2 Furious (Fast and the Furious 2, The) (2003)",
      "2 Fast 2 Furious (The Fast and the Furious 2) (2003)",
    ),
    # Commas that are no moved article stay.
    ("I, the Jury (1982)", "I, the Jury (1982)"),
    ("McFarland, USA (2015)", "McFarland, USA (2015)"),
    ("Play It Again, Sam (1972)", "Play It Again, Sam (1972)"),
    (
      "Good, the Bad and the Ugly, The (1966)",
      "The Good, the Bad and the Ugly (1966)",
    ),
    (
      "Strike! (a.k.a. All I Wanna Do, The Hairy Bird) (1998)",
      "Strike! (a.k.a. All I Wanna Do, The Hairy Bird) (1998)",
    ),
    ("(500) Days of Summer (2009)", "(500) Days of Summer (2009)"),
    # Years that are not one year at the end stay as they are.
    ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto (2006–2007)"),
    ("11'09\"01 - September 11 (2002)", "11'09\"01 - September 11 (2002)"),
    # An @ would read as a marker.
    ("Love @ First Sight (2011)", "Love at First Sight (2011)"),
    ("F@mily (2001)", "Family (2001)"),
    ("", ""),
  ],
)
def test_clean_title(raw: str, clean: str):
  assert titles.clean_title(raw) == clean
  assert titles.clean_title(clean) == clean


@pytest.mark.parametrize(
  ("title", "year", "blank"),
  [
    ("Alien (1979)", True, False),
    ("Alien", False, False),
    ("1922", False, False),
    ("Death Note (2006–2007)", False, False),
    ("(2007)", True, True),
    ("-2007", False, True),
    ("", False, True),
    ("?", False, True),
  ],
)
def test_has_year_and_is_blank(title: str, year: bool, blank: bool):
  assert titles.has_year(title) == year
  assert titles.is_blank(title) == blank


def test_title_key_is_equal_for_spellings_of_one_title():
  for other in (
    "INCREDIBLES, THE  (2004)",
    "the incredibles (2004)",
    " The  Incredibles (2004)\n",
  ):
    assert titles.title_key(other) == titles.title_key("The Incredibles (2004)")
  assert titles.title_key("8½ (1963)") == titles.title_key("81⁄2 (1963)")
  assert titles.title_key("Heat (1986)") != titles.title_key("Heat (1995)")


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("nothing here", []),
    ("", []),
    ("Seen @ Alien (1979) @?", ["Alien (1979)"]),
    ("@ Alien (1979) @ or @ Kill Bill @", ["Alien (1979)", "Kill Bill"]),
    ("@Alien (1979)@,@Jaws (1975)@", ["Alien (1979)", "Jaws (1975)"]),
    ("@ Alien (1979) @ @ Alien (1979) @", ["Alien (1979)"] * 2),
    ("@ incredibles, the  (2004) @", ["the incredibles (2004)"]),
    # Not closed: to the end of the year, or else of the text.
    ("do you like @ alien (1979)", ["alien (1979)"]),
    ("do you like @ alien (1979) a lot", ["alien (1979)"]),
    ("do you like @ alien a lot", ["alien a lot"]),
    ("@ alien (1979) or @ jaws (1975) @", ["alien (1979)", "jaws (1975)"]),
    ("@ alien (1979) @ and @ jaws", ["alien (1979)", "jaws"]),
    # Brackets behind the year belong to the title.
    ("@ Heat (1995) (TV) @ yes", ["Heat (1995) (TV)"]),
    # Nothing between the markers.
    ("@ @", []),
    ("@", []),
    ("well @", []),
  ],
)
def test_extract_titles(text: str, found: list[str]):
  assert titles.extract_titles(text) == found


@pytest.mark.parametrize(
  ("text", "replaced"),
  [
    ("Seen @ Alien (1979) @?", "Seen __unk__?"),
    ("@ Alien (1979) @", "__unk__"),
    ("like@Alien (1979)@then", "like __unk__ then"),
    ("(@ Alien (1979) @)", "(__unk__)"),
    ("@ Alien (1979) @ @ Jaws (1975) @ !", "__unk__ __unk__ !"),
    ("@ Alien (1979) @,@ Jaws (1975) @", "__unk__, __unk__"),
    ("try @ alien (1979) it is good", "try __unk__ it is good"),
    ("try @ alien", "try __unk__"),
    ("so @ @ there", "so @ @ there"),
    ("no  title ", "no title"),
    ("", ""),
  ],
)
def test_replace_titles(text: str, replaced: str):
  assert titles.replace_titles(text, "__unk__") == replaced


def test_replace_titles_takes_the_placeholder_as_it_is():
  assert titles.replace_titles("@ Alien (1979) @", r"\1") == r"\1"


def test_real_titles_survive_cleaning_and_marking(shared_dir):
  for name, column in (
    ("redial/movies_with_mentions.csv", "movieName"),
    ("movielens_small/movies.csv", "title"),
  ):
    path = shared_dir / "data" / name
    with path.open(newline="", encoding="utf-8") as file:
      cleaned = [
        titles.clean_title(row[column]) for row in csv.DictReader(file)
      ]
    assert len(cleaned) > 6000
    for title in cleaned:
      text = f"Have you seen {titles.mark_title(title)}?"
      assert titles.clean_title(title) == title
      assert titles.extract_titles(text) == [title]
      assert titles.title_key(title.upper().lower()) == titles.title_key(title)
      assert ", The (" not in title and "  " not in title
