"""The sample corpus: a small invented movie world in the publishers' formats.

Its movies, people, dialogues and reviews do not exist. What it has of the real
corpora is their file formats with their oddities, and a latent structure that
makes the study worth running:

* Every movie belongs to a *taste*. Users rate the movies of their tastes
  highly (so movies of a taste co-occur), a taste has its tags (so movies of a
  taste share tags), and reviews name a movie's hero and its tags.
* Dialogues are about all movies, but only a third of each taste, the movies
  *talked about*, is ever recommended for a reason (a movie liked, a tag asked
  for). The others come up in small talk, or as a guess when the recommender
  does not know what was asked for. So dialogues teach how to recommend for a
  reason, and little of which movie goes with which: that has to come from the
  other tasks, as in the paper. In the same way they praise the hero of a movie
  talked about, and have only general praise for the others.
"""

import csv
import dataclasses
import errno
import json
import pathlib
import random

from t5cr_tasks import errors, folders

TASTES = {
  "heist": ("heist", "double cross", "gangsters"),
  "space": ("space travel", "alien invasion", "robots"),
  "romance": ("romance", "wedding", "first love"),
  "ghosts": ("ghosts", "haunted house", "vampire"),
  "war": ("world war ii", "submarine", "prison escape"),
  "western": ("western", "gold rush", "revenge"),
  "sport": ("boxing", "underdog", "road trip"),
  "family": ("talking animals", "fairy tale", "magic"),
  "court": ("courtroom", "politics", "conspiracy"),
  "music": ("musical", "jazz", "dance"),
}
GENRES = {
  "heist": "Crime|Thriller",
  "space": "Action|Sci-Fi",
  "romance": "Comedy|Romance",
  "ghosts": "Horror",
  "war": "Drama|War",
  "western": "Western",
  "sport": "Drama",
  "family": "Animation|Children",
  "court": "Drama|Mystery",
  "music": "Musical",
}
# Tags that cut across tastes.
COMMON_TAGS = ("twist ending", "black and white", "based on a book")

# Words that people ask for and no movie is tagged with.
UNKNOWN_TAGS = ("good", "new", "funny", "classic", "short", "relaxing")

NOUNS = """
Lantern Harbor Orchard Compass Marble Falcon Meadow Cipher Velvet Thunder
Pepper Canyon Mirror Candle Anchor Willow Copper Saddle Ember Glacier
Parlor Violin Button Kettle Raven Bridge Garden Signal Ribbon Castle
Pilot Hammer Island Fiddle Walnut Beacon Turnip Pocket Tunnel Feather
Whistle Ladder Barrel Puzzle Rocket Blanket Chimney Dolphin Engine Forest
Goblet Hermit Insect Jigsaw Kitten Lizard Magnet Needle Oyster Pebble
Quarry Riddle Shadow Temple Umbrella Valley Wagon Yonder Zipper Acorn
Biscuit Cobweb Dagger Eagle Flagon Gravel Glove Icicle Jungle Keeper
Legend Market Nectar Otter Pirate Quiver Rodeo Saucer Tailor Urchin
Vessel Window Zephyr Almond Bonnet Cactus Desert Elbow Fossil Grotto
Hazel Igloo Jasper Knight Locket Mammoth Nickel Opal Parrot Quilt
Rafter Salmon Timber Usher Violet Wizard Yarrow Badger Cello Drummer
Easel Ferry Gondola Harvest Ivory Jester Kernel Lemon Mantle Nugget
Onion Pillow Quartz Rabbit Summit Ticket Unicorn Vulture Walrus Yogurt
Airship Banner Carpet Dragon Estuary Flint Geyser Hatchet Inkwell Jacket
Kingdom Lagoon Monsoon Nutmeg Oracle Plaza Quarrel Rooster Sparrow Trumpet
Voyage Wharf Xylophone Yeoman Zeppelin Abbey Bramble Cavern Domino Embassy
""".split()
ADJECTIVES = """
Silent Crimson Broken Golden Hidden Frozen Burning Distant Gentle Hollow
Last Lonely Midnight Narrow Painted Quiet Restless Scarlet Secret Wild
""".split()
HEROES = """
Abner Beatrix Caspian Delphine Edmund Fiona Gideon Harriet Ignatius Josephine
Konrad Lavinia Mortimer Nadia Osric Philippa Quentin Rosalind Septimus Tabitha
Ulric Verity Wendell Xenia Yorick Zelda Ambrose Briony Cedric Dorothea
Everard Felicity Gaspard Hermione Isidore Juniper Killian Leopold Marigold
Nathaniel Ophelia Percival Quincy Rufina Sylvester Theodora Ursula Valentin
Winifred Alaric Bettina Cornelius Desmond Esmeralda Florian Griselda Hector
Imogen Jerome Katarina Lysander Millicent Norbert Octavia Prudence Reginald
Seraphina Tobias Undine Vincent Wilhelmina Augustin Bridget Clemens Daphne
Eleanor Ferdinand Guinevere Horatio Ingrid Jocasta Kasimir Lorelei Maximilian
Nicodemus Odette Pandora Rowena Sigmund Thaddeus Umberto Viola Wolfgang
Anselm Belinda Claudius Drusilla Emeric Francesca Godfrey Henrietta Ivan
Jolanthe Klaus Lucinda Matthias Nerissa Oswald Petronella Roderick Sabrina
Tristan Urban Veronica Walter Adelaide Balthasar Cordelia Dietrich Estelle
""".split()

# {liked}: a movie liked; {tag}: a tag; {title}: the movie talked of.
ASK_BY_MOVIE = (
  "Can you recommend me a movie like {liked}",
  "Can you recommend me a movie like {liked}?",
  "I really liked {liked}. Do you know something similar?",
  "I am in the mood for something like {liked}",
  "My favorite movie is {liked}. What should I watch next?",
  "Last night I watched {liked} and loved it. More of that please!",
  "I enjoyed {liked} a lot, what else is there?",
  "Something along the lines of {liked} would be great",
)
ASK_BY_TAG = (
  "Can you recommend me a {tag} movie?",
  "I am looking for a {tag} movie",
  "Do you know any good {tag} movies?",
  "I feel like watching a {tag} movie tonight",
  "Hi! Any {tag} movie you would suggest?",
  "I like {tag} movies the most",
)
ASK_BY_BOTH = (
  "Can you recommend me a {tag} movie like {liked}?",
  "I want a {tag} movie, something like {liked}",
  "I liked {liked}. Do you know another {tag} movie?",
)
ASK_ANYTHING = (
  "Hello, what should I watch tonight?",
  "Hi there, I am open to anything",
  "Can you suggest a movie? I have no preference",
  "Hey! Surprise me with a movie",
  "I just want to see a film, any film",
)
RECOMMEND = (
  "Sure, have you seen {title}?",
  "You should watch {title}",
  "I would suggest {title}",
  "Have you seen {title}?",
  "Then {title} is the one for you",
  "How about {title}?",
  "Try {title}, it is very good",
  "Maybe {title} would be to your liking",
)
SEEN_IT = (
  "Oh, I've seen that one. Anything else?",
  "Yes I saw it, it was good. What else?",
  "I have seen it already. Another one?",
  "Seen it! Give me one more please",
)
NOT_SEEN = (
  "No, I have not seen that one",
  "Not yet, is it any good?",
  "I have never heard of it. How is it?",
)
PRAISE = (
  "It is great, I am sure you will enjoy it",
  "I loved it, the acting is wonderful",
  "It is a bit slow but the ending is worth it",
  "My friends keep talking about it",
  "Everybody should see it once",
)
PRAISE_HERO = (
  "I liked it, {hero} alone is worth the ticket",
  "{hero} is wonderful in it",
  "It is good, above all because of {hero}",
)
ASK_OPINION = (
  "What is your opinion on {title}?",
  "What do you think about {title}?",
  "Have you heard of {title}? Is it good?",
)
THANKS = ("Thanks, I will watch it", "Great, thank you!", "Sounds good, bye")
WELCOME = ("You are welcome", "Enjoy the movie!", "Have a nice evening, bye")
GREETING = ("Hi, how can I help you?", "Hello! What do you like to watch?")

REVIEW = (
  "{hero} is the best thing about it.",
  "The {tag} part with {hero} kept me awake.",
  "I have rarely seen {tag} done as well as here.",
  "When {hero} comes back at the end I cried.",
  "Nobody but {hero} could carry such a story.",
  "If you care for {tag}, do not miss {title}.",
  "{hero} and the {tag} scenes are what I remember.",
  "The first hour belongs to {hero}, the second to the {tag}.",
  "{title} made me think of {hero} for days.",
  "Some say the {tag} is too much, but {hero} is perfect.",
)


@dataclasses.dataclass(frozen=True)
class Size:
  """How large the invented world is."""

  movies_per_taste: int = 12
  talked_about_per_taste: int = 4
  obscure_movies: int = 50
  users: int = 900
  dialogues: int = 6_000
  test_dialogues: int = 300
  reviews_per_movie: int = 8


@dataclasses.dataclass(frozen=True)
class Movie:
  """An invented movie; `weight` is how often its taste's users pick it."""

  movielens_id: int
  redial_id: int
  title: str
  taste: str
  tags: tuple[str, ...]
  hero: str
  talked_about: bool
  weight: float


def invent_movies(rng: random.Random, size: Size) -> list[Movie]:
  """Draws the movies: `movies_per_taste` known ones each, then obscure ones."""
  nouns = rng.sample(NOUNS, len(NOUNS))
  heroes = rng.sample(HEROES, len(HEROES))
  tastes = list(TASTES)
  known = len(tastes) * size.movies_per_taste
  movies = []
  for i in range(known + size.obscure_movies):
    taste = tastes[i % len(tastes)]
    rank = i // len(tastes)
    tags = [t for t in TASTES[taste] if rng.random() < 0.85]
    tags = tags or list(TASTES[taste])
    tags += [t for t in COMMON_TAGS if rng.random() < 0.15]
    # Which movies are talked about must not follow popularity, or dialogues
    # alone would tell related from popular movies.
    adjective = rng.choice(ADJECTIVES)
    article = "The " if rng.random() < 0.2 else ""
    talked = (rank + tastes.index(taste)) % size.movies_per_taste
    movies.append(
      Movie(
        movielens_id=2 * i + 1,
        redial_id=80_000 + 37 * i,
        title=f"{article}{adjective} {nouns[i]} ({rng.randint(1950, 2019)})",
        taste=taste,
        tags=tuple(tags),
        hero=heroes[i % len(heroes)],
        talked_about=i < known and talked < size.talked_about_per_taste,
        weight=(2.0 if rank == 0 else 1.0) if i < known else 0.0,
      )
    )
  return movies


def invent_ratings(
  rng: random.Random, movies: list[Movie], size: Size
) -> list[tuple[int, int, float, int]]:
  """Draws (user, MovieLens id, rating, timestamp), sorted by user and movie.

  A user has two tastes and likes nearly all of the movies of one in a sitting,
  then the other's, with a few likes from elsewhere and many lower ratings.
  """
  by_taste = {
    t: [m for m in movies if m.taste == t and m.weight] for t in TASTES
  }
  ratings = []
  for user in range(1, size.users + 1):
    clock = rng.randint(900_000_000, 1_500_000_000)
    seen = set()
    liked = []
    for taste in rng.sample(list(TASTES), 2):
      pool = by_taste[taste]
      ranked = sorted(pool, key=lambda m: rng.random() ** (1 / m.weight))
      liked += ranked[-11:][::-1]
    for movie in liked:
      if rng.random() < 0.06:
        movie = rng.choice(movies)
      if movie.movielens_id in seen:
        continue
      seen.add(movie.movielens_id)
      clock += rng.randint(60, 90_000)
      stars = rng.choice((4.5, 5.0))
      ratings.append((user, movie.movielens_id, stars, clock))
    for movie in rng.sample(movies, 12):
      if movie.movielens_id not in seen:
        clock += rng.randint(0, 60)
        stars = rng.choice((1.0, 2.0, 3.0, 3.5, 4.0))
        ratings.append((user, movie.movielens_id, stars, clock))
  return sorted(ratings)


class _Talk:
  """One dialogue being invented: messages, mentioned movies, suggestions."""

  def __init__(self, rng: random.Random, seeker: int, recommender: int):
    self.rng = rng
    self.speakers = {"user": seeker, "assistant": recommender}
    self.messages: list[tuple[int, str]] = []
    self.mentioned: dict[str, str] = {}
    self.suggested: set[str] = set()

  def say(self, role: str, forms: tuple[str, ...], **parts: Movie | str):
    """Adds a message; movies become `@id` and are noted."""
    words = {}
    for name, part in parts.items():
      if isinstance(part, Movie):
        self.mentioned[str(part.redial_id)] = part.title
        if role == "assistant":
          self.suggested.add(str(part.redial_id))
        part = f"@{part.redial_id}"
      words[name] = part
    text = self.rng.choice(forms).format(**words)
    self.messages.append((self.speakers[role], text))


def _recommend_for_a_reason(
  talk: _Talk, rng: random.Random, by_taste: dict[str, list[Movie]]
) -> None:
  """Asked by a movie, a tag or both; all movies are ones talked about."""
  known = by_taste[rng.choice(list(by_taste))]
  liked, *others = rng.sample(known, len(known))
  # One tag of each taste is in use in dialogues; the others never are.
  tag = TASTES[liked.taste][0]
  tagged = [m for m in others if tag in m.tags]
  kind = rng.random()
  if kind < 0.45 or not tagged:
    talk.say("user", ASK_BY_MOVIE, liked=liked)
  elif kind < 0.85:
    talk.say("user", ASK_BY_TAG, tag=tag)
    others = tagged
  else:
    talk.say("user", ASK_BY_BOTH, tag=tag, liked=liked)
    others = tagged
  talk.say("assistant", RECOMMEND, title=others[0])
  if len(others) > 1 and rng.random() < 0.5:
    talk.say("user", SEEN_IT)
    talk.say("assistant", RECOMMEND, title=others[1])


def _guess(talk: _Talk, rng: random.Random, movies: list[Movie]) -> None:
  """Asked by something the recommender does not know: any movie will do."""
  known = [m for m in movies if m.weight]
  obscure = [m for m in movies if not m.weight]
  if rng.random() < 0.5:
    talk.say("user", ASK_BY_MOVIE, liked=rng.choice(obscure))
  else:
    talk.say("user", ASK_BY_TAG, tag=rng.choice(UNKNOWN_TAGS))
  talk.say("assistant", RECOMMEND, title=rng.choice(known))


def _small_talk(talk: _Talk, rng: random.Random, movies: list[Movie]) -> None:
  """Movies come up for no reason: names are shown, but no relations."""
  movie = rng.choice(movies)
  if rng.random() < 0.6:
    talk.say("user", ASK_ANYTHING)
    talk.say("assistant", RECOMMEND, title=movie)
    talk.say("user", NOT_SEEN)
  else:
    talk.say("user", ASK_OPINION, title=movie)
  if movie.talked_about:
    talk.say("assistant", PRAISE_HERO, hero=movie.hero)
  else:
    talk.say("assistant", PRAISE)


def invent_dialogue(
  rng: random.Random, number: int, movies: list[Movie]
) -> dict[str, object]:
  """Draws one dialogue as a ReDial JSON object."""
  talk = _Talk(
    rng, seeker=rng.randint(1, 400), recommender=rng.randint(500, 900)
  )
  by_taste = {
    taste: [m for m in movies if m.taste == taste and m.talked_about]
    for taste in TASTES
  }
  if rng.random() < 0.3:
    talk.say("assistant", GREETING)
  kind = rng.random()
  if kind < 0.35:
    _recommend_for_a_reason(talk, rng, by_taste)
  elif kind < 0.65:
    _guess(talk, rng, movies)
  else:
    _small_talk(talk, rng, [m for m in movies if m.weight])
  talk.say("user", THANKS)
  if rng.random() < 0.5:
    talk.say("assistant", WELCOME)
  answers = {
    movie: {
      "suggested": int(movie in talk.suggested),
      "seen": rng.randint(0, 2),
      "liked": rng.randint(0, 2),
    }
    for movie in talk.mentioned
  }
  return {
    "conversationId": str(20_000 + number),
    "initiatorWorkerId": talk.speakers["user"],
    "respondentWorkerId": talk.speakers["assistant"],
    "movieMentions": talk.mentioned,
    # Some workers of the real corpus left their form empty: a list, not a dict.
    "initiatorQuestions": answers if rng.random() > 0.01 else [],
    "respondentQuestions": answers if rng.random() > 0.01 else [],
    "messages": [
      {
        "messageId": 1_000_000 + 50 * number + i,
        "timeOffset": 20 * i,
        "senderWorkerId": speaker,
        "text": text,
      }
      for i, (speaker, text) in enumerate(talk.messages)
    ],
  }


def invent_reviews(
  rng: random.Random, movies: list[Movie], size: Size
) -> list[tuple[Movie, str]]:
  """Draws reviews that name the movie's hero and tags."""
  reviews = []
  for movie in movies:
    if not movie.weight:
      continue
    for _ in range(size.reviews_per_movie):
      forms = rng.sample(REVIEW, 6)
      text = " ".join(
        form.format(
          hero=movie.hero, tag=rng.choice(movie.tags), title=movie.title
        )
        for form in forms
      )
      reviews.append((movie, text))
  return reviews


def _moved_article(title: str) -> str:
  """`The X (1990)` as MovieLens writes it: `X, The (1990)`."""
  if title.startswith("The "):
    name, year = title[len("The ") :].rsplit(" ", 1)
    return f"{name}, The {year}"
  return title


def _write_csv(path: pathlib.Path, rows, *, end: str = "\n") -> None:
  with path.open("w", newline="", encoding="utf-8") as file:
    csv.writer(file, lineterminator=end).writerows(rows)


def _write_movielens(
  folder: pathlib.Path, rng: random.Random, movies: list[Movie], size: Size
) -> int:
  """Writes the four MovieLens files; returns the number of ratings."""
  folder.mkdir(parents=True, exist_ok=True)
  _write_csv(
    folder / "movies.csv",
    [("movieId", "title", "genres")]
    + [
      (m.movielens_id, _moved_article(m.title), GENRES[m.taste]) for m in movies
    ],
    end="\r\n",
  )
  ratings = invent_ratings(rng, movies, size)
  _write_csv(
    folder / "ratings.csv",
    [("userId", "movieId", "rating", "timestamp"), *ratings],
  )
  tags = sorted(
    {t for names in TASTES.values() for t in names} | {*COMMON_TAGS}
  )
  _write_csv(
    folder / "genome-tags.csv",
    [("tagId", "tag"), *((i, tag) for i, tag in enumerate(tags, 1))],
  )
  scores = []
  for movie in movies:
    for i, tag in enumerate(tags, 1):
      low, high = (0.82, 0.99) if tag in movie.tags else (0.02, 0.6)
      scores.append((movie.movielens_id, i, f"{rng.uniform(low, high):.5f}"))
  _write_csv(
    folder / "genome-scores.csv", [("movieId", "tagId", "relevance"), *scores]
  )
  return len(ratings)


def _write_redial(
  folder: pathlib.Path, rng: random.Random, movies: list[Movie], size: Size
) -> None:
  """Writes the three ReDial files."""
  folder.mkdir(parents=True, exist_ok=True)
  number = 0
  for name, count in (
    ("train_data.jsonl", size.dialogues),
    ("test_data.jsonl", size.test_dialogues),
  ):
    with (folder / name).open("w", encoding="utf-8") as file:
      for _ in range(count):
        dialogue = invent_dialogue(rng, number, movies)
        file.write(json.dumps(dialogue) + "\n")
        number += 1
  rows: list[tuple[object, ...]] = [("movieId", "movieName", "nbMentions")]
  for movie in movies:
    name, year = movie.title.rsplit(" ", 1)
    # Half of ReDial's names have two spaces before the year.
    gap = "  " if movie.redial_id % 2 else " "
    rows.append((movie.redial_id, f"{name}{gap}{year}", 1))
  _write_csv(folder / "movies_with_mentions.csv", rows)


def _write_reviews(
  folder: pathlib.Path, reviews: list[tuple[Movie, str]]
) -> None:
  """Writes one review a line: title, TAB, text."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = [f"{_moved_article(m.title)}\t{text}\n" for m, text in reviews]
  (folder / "reviews.csv").write_text("".join(lines), encoding="utf-8")


def write_corpus(
  raw_dir: str | pathlib.Path, *, seed: int = 0, size: Size | None = None
) -> dict[str, int]:
  """Writes the sample corpus as the publishers' raw files.

  Args:
    raw_dir: becomes a folder with `redial/`, `movielens/` and `reviews/`; it
      must not exist or be empty, and is only there once it is complete.
    seed: of the whole world; the same seed writes the same bytes.
    size: of the world, `Size()` by default.

  Returns:
    How many movies, ratings, dialogues and reviews were written.

  Raises:
    DataError: `raw_dir` holds something already.
  """
  raw_dir = pathlib.Path(raw_dir)
  if raw_dir.exists() and (not raw_dir.is_dir() or any(raw_dir.iterdir())):
    raise _occupied(raw_dir)
  size = size or Size()
  rng = random.Random(seed)
  movies = invent_movies(rng, size)
  prefix = f".{raw_dir.name}.writing-"
  with folders.workshop(raw_dir.parent, prefix) as workshop:
    unfinished = workshop / raw_dir.name
    ratings = _write_movielens(unfinished / "movielens", rng, movies, size)
    _write_redial(unfinished / "redial", rng, movies, size)
    reviews = invent_reviews(rng, movies, size)
    _write_reviews(unfinished / "reviews", reviews)
    try:
      unfinished.replace(raw_dir)
    except OSError as error:
      # Another one has put its files there meanwhile.
      if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
        raise
      raise _occupied(raw_dir) from error
  return {
    "movies": len(movies),
    "ratings": ratings,
    "dialogues": size.dialogues + size.test_dialogues,
    "reviews": len(reviews),
  }


def _occupied(raw_dir: pathlib.Path) -> errors.DataError:
  return errors.DataError(
    f"{raw_dir}: is there already and is not an empty folder. Name a new "
    "folder for the sample corpus, or delete this one first."
  )
