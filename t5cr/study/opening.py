"""Opens the folder of a study: alone, tidied up, and only if it is its own."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from t5cr import errors, progress
from t5cr.study import links, locks, stages
from t5cr.study.settings import SAMPLE


@contextlib.contextmanager
def open_study(
  out: pathlib.Path,
  settings: Mapping[str, Any],
  reporter: progress.Reporter,
) -> Iterator[stages.Study]:
  """Opens a study's folder, alone, and makes it if it is not there.

  Args:
    out: the folder.
    settings: what defines the study, as JSON values.
    reporter: where progress is shown.

  Yields:
    The study.

  Raises:
    UsageError: the folder holds something else, a study with other settings,
      or is in use. Nothing in it is changed then.
  """
  _check(out, settings)
  out.mkdir(parents=True, exist_ok=True)
  with locks.alone(out, reporter) as lock_file:
    # Another process may have made it meanwhile.
    _check(out, settings)
    _tidy(out, reporter)
    if stages.read_json(out / "study.json") is None:
      stages.write_json(out / "study.json", {"settings": dict(settings)})
    yield stages.Study(out, reporter, lock_file)


def _check(out: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Raises UsageError unless a folder is new or holds the same study."""
  file = out / "study.json"
  if out.exists() and not out.is_dir():
    raise errors.UsageError(
      f"--out {out} is a file; give a folder (it need not exist)."
    )
  before = _settings(file)
  if before is not None:
    changed = stages.differences(before, settings)
    if changed:
      raise errors.UsageError(
        f"{out} holds a study with other settings ({'; '.join(changed)}). "
        "Nothing was changed. Use another --out, or ask for the same settings."
      )
  elif out.is_dir() and not (file.exists() or any(out.glob("stages/*.json"))):
    others = sorted(
      path.name for path in out.iterdir() if path.name not in locks.FILES
    )
    if others:
      more = f" and {len(others) - 1} more" if len(others) > 1 else ""
      raise errors.UsageError(
        f"--out {out} holds something else than a study ({others[0]!r}{more}, "
        "but no study.json). Use an empty folder."
      )
  links.check(out)
  if settings.get("corpus") == SAMPLE:  # Else raw/ is only read, if at all.
    links.check(out, ("raw",))


def _settings(file: pathlib.Path) -> dict[str, Any] | None:
  """What `study.json` says; None if it is not there, or damaged.

  The inputs of the stages tell then whether it is the same study.
  """
  try:
    return (stages.read_json(file) or {})["settings"]
  except (errors.UsageError, KeyError, TypeError):
    return None


def _tidy(out: pathlib.Path, reporter: progress.Reporter) -> None:
  """Removes what a run that was killed left half done, and damaged records."""
  for place in ("stages", "stages/*", "report", "baselines", "vocabulary"):
    for path in out.glob(f"{place}/*.tmp"):
      stages.remove(path)
  for file in (out / "study.json", *out.glob("stages/**/*.json")):
    if file.exists() and not _is_whole_record(out, file):
      file.unlink()
      reporter.say(
        f"{file} was damaged and is removed; what it told of is checked, and "
        "made again where that is needed."
      )


def _is_whole_record(out: pathlib.Path, file: pathlib.Path) -> bool:
  needed = {out: {"settings"}, out / "stages": {"state", "inputs", "seconds"}}
  about = stages.read_json(file) if stages.is_json(file) else None
  if file.parent in needed:
    return isinstance(about, dict) and needed[file.parent] <= about.keys()
  if file.parent == out / "stages" / "outputs":
    return isinstance(about, list) and all(map(_is_group, about))
  return _is_prints(about)


def _is_group(value: Any) -> bool:
  return (
    isinstance(value, dict)
    and isinstance(value.get("paths"), list)
    and _is_prints(value.get("files"))
    and all(
      isinstance(name, str) and stages.is_name_within(name)
      for name in (*value["paths"], *value["files"])
    )
  )


def _is_prints(value: Any) -> bool:
  return isinstance(value, dict) and all(
    isinstance(entry, dict) and "sha256" in entry for entry in value.values()
  )
