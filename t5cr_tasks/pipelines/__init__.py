"""The builders as Apache Beam pipelines, for corpora past one machine.

They make the very data sets that the builders in `datasets` and `probes` make,
byte for byte, with the same functions. Beam is an optional extra; nothing here
is imported before a runner is asked for.

- `runner`: which runner, and with which options.
- `tables`: the large raw tables, read in parallel.
- `writer`: examples of a pipeline as the files of a TFDS data set.
- `movielens`: ratings to runs of ten, and the tag genome.
- `cooccurrence`: runs to the movies that are probed, and their related movies.
- `probes`: the records of the probe sets.
"""
