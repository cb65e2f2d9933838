"""Looks at what a run needs: libraries, devices, vocabulary, data sets."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
from collections.abc import Iterator

from packaging import requirements, version
from rich import table, text

import t5cr

# Shown with their versions; the others are only counted.
_MAIN = ("jax", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow")
# Extra -> (distributions to look for, what it is for).
_EXTRAS = {
  "beam": (("apache-beam",), "data sets and caches past one machine"),
  "hf": (("torch", "transformers"), "models of transformers"),
  "gpu": (("jax-cuda13-plugin", "jax-cuda12-plugin"), "training on a GPU"),
  "tpu": (("libtpu",), "training on a TPU, `t5cr plan` for one"),
}
_GPU_DEVICES = ("/dev/nvidia0", "/dev/dxg")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")
_T5X = "https://github.com/google-research/t5x"
_PUBLIC_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Check:
  """One thing that was looked at.

  Attributes:
    name: what.
    ok: whether it can be used; None where it is not there and only some uses
      need it.
    detail: what was found, and what to do where it cannot be used.
  """

  name: str
  ok: bool | None
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
  yield _packages()
  for extra in _EXTRAS:
    yield _extra(extra)
  yield _t5x()
  yield _devices()
  yield _compilation()
  yield _vocabulary()
  yield _data(tfds_data_dir)


def overview(found: list[Check]) -> table.Table:
  """A line for each check, for `terminal.show`."""
  marks = {True: ("ok", "green"), False: ("!!", "red"), None: ("--", "dim")}
  shown = table.Table(box=None, pad_edge=False, show_header=False)
  shown.add_column(no_wrap=True)
  shown.add_column(no_wrap=True)
  shown.add_column(overflow="fold")
  for check in found:
    mark = text.Text(*marks[check.ok])
    shown.add_row(mark, text.Text(check.name, "bold"), check.detail)
  return shown


def installed(distribution: str) -> str | None:
  """The version of a distribution, None where it is not installed."""
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None


def _packages() -> Check:
  """What t5cr's own metadata asks for, extras aside."""
  try:
    wanted = importlib.metadata.requires("t5cr") or []
  except importlib.metadata.PackageNotFoundError:
    detail = "t5cr runs from a folder that is not installed: pip install -e ."
    return Check("packages", None, detail)
  needed = [requirements.Requirement(line) for line in wanted]
  needed = [r for r in needed if r.marker is None or r.marker.evaluate()]
  bad = []
  for requirement in needed:
    has = installed(requirement.name)
    if has is None:
      bad.append(f"{requirement.name} is missing")
    elif version.Version(has) not in requirement.specifier:
      bad.append(f"{requirement.name} is {has}, not {requirement.specifier}")
  if bad:
    return Check("packages", False, "; ".join(bad) + ". Install t5cr again.")
  named = ", ".join(f"{name} {installed(name)}" for name in _MAIN)
  return Check("packages", True, f"all {len(needed)} are there: {named}")


def _extra(extra: str) -> Check:
  names, purpose = _EXTRAS[extra]
  found = [f"{name} {installed(name)}" for name in names if installed(name)]
  if found:
    return Check(f"extra {extra}", True, ", ".join(found))
  remedy = f"not installed; for {purpose}: {_pip(extra)}"
  return Check(f"extra {extra}", None, remedy)


def _pip(extra: str) -> str:
  return f"pip install '.[{extra}]' in the clone of t5cr"


def _t5x() -> Check:
  spec = importlib.util.find_spec("t5x")
  if spec is None or not spec.submodule_search_locations:
    remedy = f"not installed; docs/t5x.md says how, for those who launch {_T5X}"
    return Check("t5x", None, remedy)
  (place, *_) = spec.submodule_search_locations
  return Check("t5x", True, place)


def _devices() -> Check:
  try:
    import jax

    devices = jax.devices()
  except (ImportError, RuntimeError) as error:
    return Check("devices", False, f"JAX finds none: {error}")
  kinds = [f"{d.platform} {d.device_kind}" for d in devices]
  counts = {kind: kinds.count(kind) for kind in kinds}
  found = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
  found += f"; {os.cpu_count()} processor cores"
  if devices[0].platform != "cpu":
    return Check("devices", True, found)
  for extra, places in (("gpu", _GPU_DEVICES), ("tpu", _TPU_DEVICES)):
    here = [place for place in places if os.path.exists(place)]
    if here and os.environ.get("JAX_PLATFORMS") != "cpu":
      detail = (
        f"{found}. A {extra.upper()} is here ({here[0]}), but JAX does not see "
        f"it: {_pip(extra)}"
      )
      return Check("devices", False, detail)
  return Check("devices", True, found)


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
  from t5cr import errors
  from t5cr.engine import vocabulary

  variable = vocabulary.ENVIRONMENT_VARIABLE
  path = os.environ.get(variable)
  if path:
    try:
      size = vocabulary.Vocabulary(path).size
    except errors.UsageError as error:
      return Check("vocabulary", False, str(error))
    return Check("vocabulary", True, f"{path}: {size:,} ids")
  public = f"T5's public one, {vocabulary.PUBLIC_MODEL}"
  reason = _unreachable(vocabulary.PUBLIC_MODEL)
  if reason is None:
    return Check("vocabulary", True, f"{public}; {variable} names another")
  detail = (
    f"{public}, cannot be reached from here ({reason}). Set {variable} to a "
    "copy of it, or to one of your own: `t5cr data vocabulary`"
  )
  return Check("vocabulary", False, detail)


def _unreachable(url: str) -> str | None:
  """Why a public file on gs:// cannot be read, None if it can."""
  import requests

  public = url.replace("gs://", "https://storage.googleapis.com/", 1)
  try:
    answer = requests.head(public, timeout=_PUBLIC_SECONDS)
  except requests.RequestException as error:
    return type(error).__name__
  return None if answer.ok else f"status {answer.status_code}"


def _data(tfds_data_dir: pathlib.Path | None) -> Check:
  from t5cr_tasks.datasets import build

  default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
  place = (tfds_data_dir or pathlib.Path(default)).expanduser()
  available = build.available(place)
  if available:
    return Check("data sets", True, f"{place}: {', '.join(available)}")
  detail = (
    f"{place} holds none of t5cr's. Get raw files with `t5cr data sample --raw "
    "RAW` or `t5cr data fetch --raw RAW`, build them with `t5cr data build "
    "--raw RAW --tfds_data_dir DIR`, and name that DIR here too"
  )
  return Check("data sets", None if tfds_data_dir is None else False, detail)
