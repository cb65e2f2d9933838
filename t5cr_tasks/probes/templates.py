"""The phrasings of the probes.

Every probe of a dialogue has the same phrasings by name; `paper` is Table 4's,
letter for letter. Section 4.1 says that others were tried "with little effect
on the probe results": they are here so that this can be measured.

In a template `{movie}` and `{candidate}` are titles as they stand in dialogues
(`@ Alien (1979) @`), `{title}` is the candidate's title bare, `{tag}` a tag and
`{sentence}` a sentence of a review.
"""

import dataclasses
import difflib

from t5cr_tasks.errors import DataError

DIALOGUE_PREFIX = "redial conversation: "
SEQUENCE_PREFIX = "movielens sequence: "


@dataclasses.dataclass(frozen=True)
class Template:
  """One phrasing of one probe.

  Attributes:
    inputs: what the model reads, task prefix included.
    targets: what the model scores.
  """

  inputs: str
  targets: str


# What the user says about the movies asked for, by phrasing: {wanted} is
# filled for each probe below.
_REQUESTS = {
  "paper": "[User] Can you recommend me a {wanted}",
  "suggest": "[User] Which movie would you suggest to someone who {likes}?",
  "next": "[User] I {liked}. What should I watch next?",
  "search": "[User] I am looking for a {wanted}.",
  "mood": "[User] I'm in the mood for a {wanted}. Any ideas?",
  "short": "[User] Any good {plural}?",
  "greeting": (
    "[User] Hi! [Assistant] Hello, what kind of movies do you like?"
    " [User] I {liked}."
  ),
}

_REPLIES = {
  "paper": "Sure, have you seen {candidate}?",
  "suggest": "I would suggest {candidate}.",
  "next": "You might like {candidate}.",
  "search": "How about {candidate}?",
  "mood": "Have you seen {candidate}? I think you would enjoy it.",
  "short": "{candidate}",
  "greeting": "Great! Have you seen {candidate}?",
}

_OPINIONS = {
  "paper": "[User] What is your opinion on {movie}?",
  "suggest": "[User] What would you say about {movie}?",
  "next": "[User] I just watched {movie}. What did you think of it?",
  "search": "[User] I am looking for a review of {movie}.",
  "mood": "[User] I'm in the mood for {movie}. Is it any good?",
  "short": "[User] {movie}?",
  "greeting": (
    "[User] Hi! [Assistant] Hello, which movie would you like to talk about?"
    " [User] {movie}. What is it like?"
  ),
}

NAMES = tuple(_REQUESTS)


def _requests(closing: str, **words: str) -> dict[str, Template]:
  """The request in all phrasings; `closing` ends the paper's question."""
  table = {}
  for name, request in _REQUESTS.items():
    for word, phrase in words.items():
      request = request.replace("{" + word + "}", phrase)
    if name == "paper":
      request += closing
    table[name] = Template(DIALOGUE_PREFIX + request, _REPLIES[name])
  return table


TEMPLATES: dict[str, dict[str, Template]] = {
  "recommendation": _requests(
    # Table 4 asks this one without a question mark.
    "",
    wanted="movie like {movie}",
    likes="likes {movie}",
    liked="really liked {movie}",
    plural="movies like {movie}",
  ),
  "attribute": _requests(
    "?",
    wanted="{tag} movie",
    likes="likes {tag} movies",
    liked="really like {tag} movies",
    plural="{tag} movies",
  ),
  "combination": _requests(
    "?",
    wanted="{tag} movie like {movie}",
    likes="likes {tag} movies such as {movie}",
    liked="really like {tag} movies such as {movie}",
    plural="{tag} movies like {movie}",
  ),
  "description": {
    name: Template(DIALOGUE_PREFIX + opinion, "{sentence}")
    for name, opinion in _OPINIONS.items()
  },
  # The task has one format, so the phrasing makes no difference here.
  "recommendation_sequence": {
    name: Template(SEQUENCE_PREFIX + "{movie}", "{title}") for name in NAMES
  },
}

PROBES = tuple(TEMPLATES)

# The probe sets that ask some of a probe's pairs in every phrasing.
_PHRASINGS = "_phrasings"
PHRASED = {
  f"{probe}{_PHRASINGS}": probe
  for probe, phrasings in TEMPLATES.items()
  if len(set(phrasings.values())) > 1
}


def find(probe: str, name: str) -> Template:
  """The phrasing of a probe by its name.

  Raises:
    DataError: there is none of that name.
  """
  if name not in TEMPLATES[probe]:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(
      f"There is no probe template {name!r}; the templates are"
      f" {', '.join(NAMES)}.{hint}"
    )
  return TEMPLATES[probe][name]
