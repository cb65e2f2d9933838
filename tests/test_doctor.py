"""What `t5cr doctor` finds, and what it says to do."""

import pytest
import requests

from t5cr import cli, doctor, terminal


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  def refused(*unused, **options):
    raise requests.ConnectionError("no route")

  monkeypatch.setattr(requests, "head", refused)
  monkeypatch.delenv("T5CR_VOCABULARY", raising=False)


def _check(name: str, data_dir=None) -> doctor.Check:
  (found,) = [c for c in doctor.checks(data_dir) if c.name == name]
  return found


def test_missing_vocabulary_and_data_fail_with_a_remedy(tmp_path, capsys):
  assert cli.main(["doctor", f"--tfds_data_dir={tmp_path}"]) == 1
  lines = capsys.readouterr().out.splitlines()
  (vocabulary,) = [line for line in lines if line[4:].startswith("vocabulary")]
  assert vocabulary.startswith("!!") and "Set T5CR_VOCABULARY" in vocabulary
  (data,) = [line for line in lines if line[4:].startswith("data sets")]
  assert data.startswith("!!") and "t5cr data build" in data
  # Piped, each check is one line.
  assert all(line[:2] in ("ok", "!!", "--") for line in lines)


def test_the_public_vocabulary_is_looked_for(monkeypatch):
  asked = []

  def head(url, timeout):
    asked.append(url)
    answer = requests.Response()
    answer.status_code = 200
    return answer

  monkeypatch.setattr(requests, "head", head)
  assert _check("vocabulary").ok
  assert asked[0].startswith("https://storage.googleapis.com/t5-data/vocabs/")


def test_a_vocabulary_that_is_none_is_said(monkeypatch, tmp_path):
  path = tmp_path / "empty.model"
  path.touch()
  monkeypatch.setenv("T5CR_VOCABULARY", str(path))
  check = _check("vocabulary")
  assert check.ok is False and "it is empty" in check.detail


def test_packages_that_are_too_old_are_named(monkeypatch):
  wanted = ["jax>=1000", "no-such-package", "pytest; extra == 'dev'"]
  monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: wanted)
  check = _check("packages")
  assert check.ok is False
  assert "not >=1000; no-such-package is missing." in check.detail
  assert "pytest" not in check.detail


def test_what_only_some_need_is_no_failure(monkeypatch):
  monkeypatch.setattr(doctor, "installed", lambda name: None)
  check = _check("extra tpu")
  assert check.ok is None and "pip install '.[tpu]'" in check.detail


def test_a_gpu_that_jax_does_not_see_is_said(monkeypatch, tmp_path):
  device = tmp_path / "nvidia0"
  device.touch()
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  monkeypatch.setattr(doctor, "_GPU_DEVICES", (str(device),))
  check = _check("devices")
  assert check.ok is False and "pip install '.[gpu]'" in check.detail


def test_brackets_are_shown_as_they_are():
  shown = doctor.overview([doctor.Check("x", None, "pip install '.[gpu]'")])
  assert terminal.text(shown) == "--  x  pip install '.[gpu]'"
