"""What can be audited of the dependencies without a network."""

import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging import requirements, utils

ROOT = pathlib.Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"

# Licences under which this project may be installed and passed on with what it
# needs. None obliges to more than a notice, or more than a file's own source.
ALLOWED = {
  *("0bsd", "bsd-2-clause", "bsd-3-clause", "3-clause bsd license"),
  *("bsd license", "mit", "mit-0", "mit-cmu", "mit license"),
  *("apache-2.0", "apache 2.0", "apache license 2.0"),
  *("apache software license", "isc", "isc license (iscl)", "zlib", "cc0-1.0"),
  *("psf-2.0", "python software foundation license", "cnri-python"),
  *("afl-2.1", "mpl-2.0", "mozilla public license 2.0 (mpl 2.0)"),
}
# Packages that say it in their LICENSE alone.
TOLD_IN_A_FILE = {"namex": "Apache License"}


def locked() -> dict[str, tuple[str, list[str]]]:
  """Package -> (version, its sha256) of the lock."""
  text = LOCK.read_text().replace("\\\n", " ")
  found = {}
  for line in text.splitlines():
    if not line.strip() or line.lstrip().startswith("#"):
      continue
    pinned, *options = line.split()
    name, equals, version = pinned.partition("==")
    assert equals, f"{pinned} is not pinned to a version"
    hashes = [option.partition("sha256:")[2] for option in options]
    assert hashes and all(re.fullmatch("[0-9a-f]{64}", h) for h in hashes), (
      f"{pinned} has something else than sha256 hashes"
    )
    found[utils.canonicalize_name(name)] = version, hashes
  return found


def test_the_lock_pins_every_package_by_its_content():
  assert len(locked()) > 100


def test_the_lock_names_no_index_and_no_address():
  text = LOCK.read_text()
  assert not re.search(r"^-|https?:|git\+|@ ", text, re.MULTILINE)


def test_the_lock_holds_all_that_is_declared():
  declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = declared["optional-dependencies"]
  known = locked()
  for line in (
    *declared["dependencies"],
    *(line for extra in ("beam", "dev", "docs") for line in extras[extra]),
  ):
    wanted = requirements.Requirement(line)
    version, _ = known[utils.canonicalize_name(wanted.name)]
    assert version in wanted.specifier, f"{line} is locked at {version}"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
  """Package -> version, where the tests run in what `make setup` made."""
  made = pathlib.Path(sys.prefix) / ".locked"
  if not made.exists() or made.stat().st_mtime < LOCK.stat().st_mtime:
    pytest.skip("needs the environment that `make setup` makes of this lock")
  return {
    utils.canonicalize_name(found.name): found.version
    for found in importlib.metadata.distributions()
  }


def test_what_is_installed_is_what_is_locked(environment):
  expected = {name: version for name, (version, _) in locked().items()}
  strange = environment.keys() - expected.keys() - {"t5cr", "pip"}
  assert not strange, "installed, but not locked"
  differing = {
    name: version
    for name, version in environment.items()
    if expected.get(name, version) != version
  }
  assert not differing, "installed in another version than the locked one"


def test_what_is_installed_fits_together(environment):
  command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
  ended = subprocess.run(
    [*command, "check"], capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stdout


def licence(package: str) -> str:
  about = importlib.metadata.metadata(package)
  classifiers = [
    line.rpartition(" :: ")[2]
    for line in about.get_all("Classifier") or ()
    if line.startswith("License :: ")
  ]
  first, *_ = (about.get("License") or "").strip().splitlines() or [""]
  specific = [c for c in classifiers if c != "OSI Approved"]
  return about.get("License-Expression") or " OR ".join(specific) or first


def is_allowed(package: str) -> bool:
  told = licence(package)
  if not told and package in TOLD_IN_A_FILE:
    files = importlib.metadata.files(package) or ()
    (file,) = [file for file in files if file.name == "LICENSE"]
    return TOLD_IN_A_FILE[package] in file.read_text()
  parts = re.split(" (?:AND|OR) ", told)
  return all(part.lower() in ALLOWED for part in parts)


def test_licences_allow_this_use():
  """Of the locked packages that are installed here."""
  installed = {
    utils.canonicalize_name(found.name)
    for found in importlib.metadata.distributions()
  } & locked().keys()
  assert len(installed) > 50
  others = {p: licence(p) for p in sorted(installed) if not is_allowed(p)}
  assert not others, "licences that are not on the list"
