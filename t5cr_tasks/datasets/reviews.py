"""TFDS data set `t5cr_reviews`: one record for each movie review."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from t5cr_tasks.datasets import base
from t5cr_tasks.raw import files
from t5cr_tasks.raw import reviews as raw


class T5crReviews(base.RawBuilder):
  """Movie reviews (Penha and Hauff 2020), split into sentences."""

  name = "t5cr_reviews"

  def features(self) -> dict[str, Any]:
    """One review; review_id is its line in the raw file."""
    text = tfds.features.Text()
    return {
      "review_id": np.int64,
      "title": text,
      "sentences": tfds.features.Sequence(text),
    }

  def find_files(self, raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """The one file of reviews."""
    return files.find_source(raw_dir, "reviews", (raw.REVIEWS,))

  def read_splits(
    self, paths: dict[str, pathlib.Path]
  ) -> dict[str, Iterator[dict[str, Any]]]:
    """All of it is the train split."""
    path = paths[raw.REVIEWS]
    reviews = raw.read_reviews(path, self.bad_lines, self.tallies["reviews"])
    counted = self.count_progress(reviews, files.count_lines(path), "reviews")
    return {"train": (dataclasses.asdict(review) for review in counted)}

  def counted(self, split: str) -> tuple[str, ...]:
    """The reviews."""
    return ("reviews",)

  def key(self, example: dict[str, Any]) -> int | str | bytes:
    """The line of the review."""
    return example["review_id"]
