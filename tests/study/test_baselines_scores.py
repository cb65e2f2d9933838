"""The baselines on worlds that are small enough to count by hand."""

import numpy as np
import pytest
import scipy.sparse

from t5cr import errors
from t5cr.study.baselines import counts, factors, responses, tags
from t5cr.study.baselines.interactions import Index, Interactions
from t5cr.study.baselines.options import Options
from t5cr.study.baselines.probes import Candidates

A, B, C, D = "Alien (1979)", "Babe (1995)", "Cube (1997)", "Dune (1984)"


def asked(probe, *rows):
  """Candidates of (movie, candidate, tag)."""
  movie, candidate, tag = zip(*rows, strict=True)
  return Candidates(probe, movie, candidate, tag)


def interactions(runs, titles=(A, B, C, D)):
  """Interactions of [(user, titles of a run)]."""
  return Interactions(
    users=np.array([user for user, _ in runs]),
    movies=np.array([titles.index(t) for _, run in runs for t in run]),
    lengths=np.array([len(run) for _, run in runs]),
    titles=list(titles),
  )


# The runs of user 7 do not stand together.
WORLD = interactions([(7, [A, B]), (3, [A, B, C]), (7, [C, D]), (7, [A, D])])


def test_runs_count_for_the_user_whose_they_are():
  assert WORLD.by_run().toarray().tolist() == [
    [1, 1, 0, 0],
    [1, 1, 1, 0],
    [0, 0, 1, 1],
    [1, 0, 0, 1],
  ]
  assert WORLD.by_user().toarray().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_movies_are_found_by_title_key():
  index = Index([A, B])
  assert index.find(["babe (1995)", A]).tolist() == [1, 0]
  assert index.find_any([C, A]).tolist() == [-1, 0]
  with pytest.raises(errors.UsageError, match="Cube.*made from other data"):
    index.find([A, C])


def test_popularity_is_the_number_of_runs():
  score = counts.popularity(WORLD)
  rows = asked("recommendation", (A, B, ""), (A, C, ""), (B, A, ""))
  assert score(rows).tolist() == [2, 2, 3]


def test_cooccurrence_is_the_number_of_runs_with_both():
  score = counts.cooccurrence(WORLD)
  rows = asked("recommendation", (A, B, ""), (A, C, ""), (A, D, ""), (B, D, ""))
  assert score(rows).tolist() == [2, 1, 1, 0]


def test_pairs_are_counted_in_blocks(monkeypatch):
  monkeypatch.setattr(counts, "_BLOCK_ROWS", 2)
  matrix = scipy.sparse.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 1]])
  pairs = np.array([[0, 1], [0, 2], [1, 2], [-1, 2], [2, 2]])
  shared = counts.common(matrix, pairs[:, 0], pairs[:, 1])
  assert shared.tolist() == [1, 2, 2, 0, 3]


def two_tastes(seed=0):
  """Users that like movies of one half, all of which are as popular."""
  rng = np.random.default_rng(seed)
  titles = [f"Movie {number} (1990)" for number in range(20)]
  runs = [
    (user, [titles[m] for m in rng.choice(10, 5, False) + 10 * (user % 2)])
    for user in range(200)
  ]
  return interactions(runs, titles), titles


@pytest.mark.parametrize("fit", [factors.als, factors.bpr])
def test_factors_tell_tastes_apart(fit):
  world, titles = two_tastes()
  rows = [(titles[3], titles[5], ""), (titles[3], titles[15], "")]
  score = fit(world, Options(factors=3))
  alike, other = score(asked("recommendation", *rows))
  assert -1 <= other < alike <= 1
  again = fit(world, Options(factors=3))
  everything = [(movie, other, "") for movie in titles for other in titles]
  rows = asked("recommendation", *everything)
  assert score(rows).tobytes() == again(rows).tobytes()
  seeded = fit(world, Options(factors=3, seed=1))
  assert score(rows).tobytes() != seeded(rows).tobytes()


def test_bpr_leaves_the_bias_out(monkeypatch):
  world, titles = two_tastes()
  fitted = np.array([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0], [2.0, 0.0, -9.0]])
  monkeypatch.setattr(factors, "_fit", lambda *_: fitted)
  score = factors.bpr(world, Options())
  rows = [(titles[0], titles[1], ""), (titles[0], titles[2], "")]
  assert score(asked("recommendation", *rows)).tolist() == [0, 1]


TAGGED = tags.Tagged(
  scipy.sparse.csr_array(
    [
      [1, 1, 0],  # Alien: space, horror
      [1, 0, 1],  # Babe: space, farm
      [1, 1, 0],  # Cube: space, horror
      [0, 1, 1],  # Dune: horror, farm
    ]
  ),
  [A, B, C, D],
  ["space", "horror", "farm"],
)


def test_other_tags_that_go_with_the_asked_one():
  score = tags.overlap(TAGGED)
  rows = asked(
    "attribute",
    # Besides Alien, two movies carry space: Cube, a horror, and Babe.
    ("", A, "horror"),
    # Besides Babe, two carry space, both horrors, and one farm, a horror too.
    ("", B, "horror"),
    # Nobody knows this movie: the share of all four that carry the tag.
    ("", "Elsewhere (2000)", "farm"),
  )
  assert score(rows).tolist() == [0.5, 1.0, 0.5]


def fit_by_hand(matrix, movie, tag):
  """`fit_of_tag`, one movie and tag at a time."""
  others = np.delete(matrix, movie, axis=0)
  shares = [
    others[others[:, other] == 1, tag].mean()
    for other in np.flatnonzero(matrix[movie])
    if other != tag and others[:, other].any()
  ]
  return np.mean(shares) if shares else others[:, tag].mean()


@pytest.mark.parametrize("block", [3, 1024])
def test_fit_of_tag_is_the_mean_of_conditional_shares(monkeypatch, block):
  monkeypatch.setattr(tags, "_BLOCK_MOVIES", block)
  matrix = (np.random.default_rng(0).random((8, 6)) < 0.35).astype(int)
  matrix[2] = 0
  matrix[:, 5] = 0
  matrix[4, 5] = 1
  found = tags.fit_of_tag(scipy.sparse.csr_array(matrix))
  wanted = [[fit_by_hand(matrix, m, t) for t in range(6)] for m in range(8)]
  np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_asked_tag_itself_is_not_seen():
  matrix = (np.random.default_rng(1).random((9, 5)) < 0.5).astype(int)
  first, second = np.full(5, 3), np.full(5, 6)
  tag = np.arange(5)

  def both(values):
    sparse = scipy.sparse.csr_array(values)
    shares = tags.jaccard(sparse, first, second, tag)
    return tags.fit_of_tag(sparse)[6], shares

  fit, shares = both(matrix)
  for place in range(5):
    other = matrix.copy()
    other[6, place] = 1 - other[6, place]
    other_fit, other_shares = both(other)
    assert other_fit[place] == fit[place]
    assert other_shares[place] == shares[place]
  assert len(set(fit.tolist())) > 1 and len(set(shares.tolist())) > 1


def test_tags_that_two_movies_share():
  score = tags.overlap(TAGGED)
  rows = asked(
    "combination",
    (A, C, "space"),  # both have horror, and nothing else
    (A, B, "space"),  # one has horror, the other farm
    (A, B, "farm"),  # both have space, one has horror
    (A, "Elsewhere (2000)", "farm"),
    ("Elsewhere (2000)", "Nowhere (2000)", "farm"),
  )
  assert score(rows).tolist() == [1, 0, 0.5, 0, 0]


PREFIX = "redial conversation: "
TRAINING = responses.Examples(
  [
    PREFIX + "[user] hi",
    PREFIX + "[user] hi [assistant] hello! [user] something scary in space",
    PREFIX + "[user] hi [assistant] hello! [user] a comedy with a pig",
    PREFIX + "[user] good bye",
    PREFIX + "[user] hi",
    PREFIX + "[assistant] anything else? [user] no",
    PREFIX + "[user] what is it about? [assistant] friends [user] thanks",
  ],
  ["hello!", "@ alien (1979) @", "@ babe (1995) @", "bye", "bye", "ok", "so"],
  [],
)


def test_the_most_frequent_response():
  respond = responses.most_frequent(TRAINING)
  assert respond(["a", "b"]) == ["bye", "bye"]


def test_of_equally_frequent_responses_the_first_in_the_alphabet():
  examples = responses.Examples([""] * 4, ["you", "hi", "hi", "you"], [])
  assert responses.most_frequent(examples)([""]) == ["hi"]


def test_retrieval_gives_the_response_to_the_nearest_context(monkeypatch):
  monkeypatch.setattr(responses, "_BLOCK_QUERIES", 2)
  respond = responses.retrieval(TRAINING, Options())
  contexts = [
    PREFIX + "[user] hello [assistant] hey [user] scary things, in space",
    PREFIX + "[user] do you know a comedy with an unheard-of pig",
    PREFIX + "[user] hi",
  ]
  # Of two contexts that are the same, the one that is stored first.
  wanted = ["@ alien (1979) @", "@ babe (1995) @", "hello!"]
  assert respond(contexts) == wanted


@pytest.mark.parametrize(
  "change",
  [
    {"factors": 0},
    {"als_iterations": 0},
    {"bpr_learning_rate": 0.0},
    {"als_regularization": -1.0},
    {"bm25_b": 1.5},
    {"seed": -1},
  ],
)
def test_options_that_make_no_sense(change):
  with pytest.raises(errors.UsageError, match=next(iter(change))):
    Options(**change)
