"""The seqio Mixtures: the rows of the paper's Table 3, and its columns.

| mixture | row of Table 3 |
|---|---|
| (none: the pretrained model as it is) | None (T5) |
| `t5cr_redial` | ReDial |
| `t5cr_redial_sequence` | ReDial + ML Sequences |
| `t5cr_redial_tags` | ReDial + ML Tags |
| `t5cr_redial_review` | ReDial + ML Reviews |
| `t5cr_all` | All (T5-CR) |

Paper section 2.6: examples from each task are loaded equally often.

`t5cr_probes` is the four probes that are the columns of Table 3, for evaluation
only: one scoring job that names it measures them all. `t5cr_probe_phrasings` is
some of each in every phrasing.
"""

from __future__ import annotations

from collections.abc import Mapping

import seqio

_REDIAL = "t5cr_redial_conversation"
_SEQUENCE = "t5cr_movielens_sequence"
_TAGS = "t5cr_movielens_tags"
_REVIEW = "t5cr_movielens_review"

MIXTURES: Mapping[str, tuple[str, ...]] = {
  "t5cr_redial": (_REDIAL,),
  "t5cr_redial_sequence": (_REDIAL, _SEQUENCE),
  "t5cr_redial_tags": (_REDIAL, _TAGS),
  "t5cr_redial_review": (_REDIAL, _REVIEW),
  "t5cr_all": (_REDIAL, _SEQUENCE, _TAGS, _REVIEW),
  "t5cr_probes": (
    "t5cr_probe_recommendation",
    "t5cr_probe_attribute",
    "t5cr_probe_combination",
    "t5cr_probe_description",
  ),
  "t5cr_probe_phrasings": (
    "t5cr_probe_recommendation_phrasings",
    "t5cr_probe_attribute_phrasings",
    "t5cr_probe_combination_phrasings",
    "t5cr_probe_description_phrasings",
  ),
}


def register(prefix: str = "") -> list[str]:
  """Registers every Mixture; those that are registered already stay.

  Args:
    prefix: put before the names of the mixtures and of their tasks.

  Returns:
    The names of the Mixtures.
  """
  names = []
  for name, tasks in MIXTURES.items():
    names.append(prefix + name)
    if names[-1] not in seqio.MixtureRegistry.names():
      seqio.MixtureRegistry.add(
        names[-1], [prefix + task for task in tasks], default_rate=1.0
      )
  return names
