"""The probe studies of the paper's section 4.

A probe is one question that a model answers with two log-likelihoods: does it
find the related movie (or the movie that a review is about) more likely than a
popular one drawn at random? The modules, in the order of the work:

- `sources`: reads the TFDS data sets into arrays.
- `cooccurrence`: PMI^2 between movies and the top related movies.
- `candidates`: which movie, tag and sentence each probe asks about, and the
  popular negative.
- `leaks`: which of those pairs the training dialogues already name.
- `templates`: the phrasings.
- `build`: all of it together, written as `t5cr_probes/<probe>`.
"""
