"""Looks at what a run needs: libraries, devices, vocabulary, data sets."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterator

import t5cr

_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "seqio",
  "tensorflow",
  "tensorflow-datasets",
  "sentencepiece",
  "sacrebleu",
)


@dataclasses.dataclass(frozen=True)
class Check:
  """One thing that was looked at.

  Attributes:
    name: what.
    ok: whether it can be used.
    detail: what was found, and the remedy where it cannot be used.
  """

  name: str
  ok: bool
  detail: str


def checks(tfds_data_dir: pathlib.Path | None) -> Iterator[Check]:
  """Looks at one thing after the other.

  Args:
    tfds_data_dir: the TFDS data directory; None for TFDS's own default.

  Yields:
    A check for each.
  """
  python = f"{platform.python_version()} on {platform.platform()}"
  yield Check("t5cr", True, f"{t5cr.__version__}, Python {python}")
  for name in _PACKAGES:
    try:
      yield Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
      remedy = "not installed; install t5cr again with pip"
      yield Check(name, False, remedy)
  yield _devices()
  yield _compilation()
  yield _vocabulary()
  yield _data(tfds_data_dir)


def _devices() -> Check:
  try:
    import jax

    devices = [f"{d.platform} {d.device_kind}" for d in jax.devices()]
  except (ImportError, RuntimeError) as error:
    return Check("devices", False, f"JAX finds none: {error}")
  cores = os.cpu_count()
  found = ", ".join(devices)
  return Check("devices", True, f"{found}; {cores} processor cores")


def _compilation() -> Check:
  try:
    from t5cr.engine import compilation
  except ImportError as error:
    return Check("compiled programs", False, f"JAX cannot be loaded: {error}")
  place = compilation.folder()
  if place is None:
    return Check("compiled programs", True, "not kept, as JAX is told")
  count, size = compilation.size(place)
  detail = (
    f"{count:,} kept in {place}, {size / 1e6:,.0f} MB; delete the folder to "
    "clear it"
  )
  return Check("compiled programs", True, detail)


def _vocabulary() -> Check:
  try:
    from t5cr_tasks import vocabulary
  except ImportError as error:
    return Check("vocabulary", False, f"the tasks cannot be loaded: {error}")
  path = os.environ.get(vocabulary.ENVIRONMENT_VARIABLE)
  if not path:
    detail = (
      f"T5's public one, {vocabulary.PUBLIC_MODEL}, read when it is first "
      f"needed; {vocabulary.ENVIRONMENT_VARIABLE} names another"
    )
    return Check("vocabulary", True, detail)
  try:
    size = vocabulary.default_vocabulary().vocab_size
  except ValueError as error:
    return Check("vocabulary", False, str(error))
  return Check("vocabulary", True, f"{path}: {size:,} ids")


def _data(tfds_data_dir: pathlib.Path | None) -> Check:
  from t5cr_tasks.datasets import build

  default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
  place = (tfds_data_dir or pathlib.Path(default)).expanduser()
  available = build.available(place)
  if not available:
    remedy = "build some with `t5cr data build`"
    detail = f"{place} holds no data set of t5cr; {remedy}"
    return Check("data sets", tfds_data_dir is None, detail)
  return Check("data sets", True, f"{place}: {', '.join(available)}")
