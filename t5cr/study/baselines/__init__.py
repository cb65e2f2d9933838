"""What the figures of a report are worth: baselines on the same examples.

None of them is a language model. Each answers the probe pairs or the
validation dialogues that the rows of Table 3 answer, and leaves a run folder
as `t5cr eval` would, so that a report takes it as it takes a row. The modules,
in the order of the work:

- `options`: the hyperparameters.
- `interactions`: which user liked which movie, from the MovieLens sequences.
- `counts`: popularity and item co-occurrence.
- `factors`: matrix factorisation, ALS and BPR.
- `tags`: overlap of tags.
- `responses`: the most frequent response, and that of the nearest context.
- `probes`: scores the candidates of a probe set.
- `folder`: the run folder.
- `build`: which baselines there are, and all of it together.
"""
