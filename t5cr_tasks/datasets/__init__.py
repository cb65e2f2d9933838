"""The TFDS data sets; importing this package registers their builders."""

from t5cr_tasks.datasets import catalogue, movielens, probes, redial, reviews

__all__ = ["catalogue", "movielens", "probes", "redial", "reviews"]
