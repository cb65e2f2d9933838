"""`t5cr.load`: a model from Python, whatever wrote it."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import spm_models
import tiny

import t5cr
from t5cr import cli, errors, recommender
from t5cr.engine import (
  convert,
  partitioning,
  saving,
  train,
  vocabulary,
)
from t5cr.engine.decode import Decoding
from t5cr.engine.formats import Format

CONFIG = dataclasses.replace(tiny.CONFIG, vocab_size=1024)
INPUTS = [
  "movielens sequence: @ alien (1979) @",
  "movielens tags: drama, based on a book",
  "movielens sequence: @ alien (1979) @",
]
TARGETS = ["aliens (1986)", "the book thief (2013)", "a"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run folder as training leaves it: checkpoint, vocabulary, run.json."""
  folder = tmp_path_factory.mktemp("runs") / "all"
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  config = train.TrainConfig(train_steps=0, seed=3)
  with saving.Writer(folder) as writer:
    state = train.initial_state(config, CONFIG, mesh)
    writer.save(0, state, CONFIG, None)
  pieces = spm_models.with_sentinels("bpe")
  (folder / vocabulary.FILE).write_bytes(pieces)
  lengths = {"inputs": 24, "targets": 12}
  settings = {"TrainData": {"task_feature_lengths": lengths}}
  (folder / "run.json").write_text(json.dumps({"settings": settings}))
  return folder


@pytest.fixture(scope="module")
def model(run):
  return t5cr.load(run)


def test_lengths_are_those_of_the_run(model):
  assert model.feature_lengths == {"inputs": 24, "targets": 12}
  assert (model.found.step, model.config) == (0, CONFIG)


def test_text_becomes_the_ids_that_the_tasks_have(run):
  seqio = pytest.importorskip("seqio")
  path = run / vocabulary.FILE
  ours, theirs = (
    vocabulary.Vocabulary(path),
    seqio.SentencePieceVocabulary(str(path)),
  )
  assert ours.size == theirs.vocab_size
  for string in spm_models.STRINGS:
    ids = theirs.encode(string)
    assert ours.encode(string) == [*ids, 1]
    assert ours.encode(string, 4) == [*ids[:3], 1]
    assert ours.decode(ids) == theirs.decode(ids)
  assert ours.decode([5, 10_000]) == theirs.decode([5, 10_000])


def test_strings_and_token_arrays_agree(model):
  encode = model.vocabulary.encode
  targets = np.zeros((3, 12), np.int32)
  sources = np.zeros((3, 24), np.int32)
  for row, (source, target) in enumerate(zip(INPUTS, TARGETS, strict=True)):
    ids = encode(source, 24)
    sources[row, : len(ids)] = ids
    ids = encode(target, 12)
    targets[row, : len(ids)] = ids
  batch = {
    "encoder_input_tokens": sources,
    "decoder_target_tokens": targets,
    "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
  }
  scores = model.score(INPUTS, TARGETS)
  np.testing.assert_allclose(scores, model.score_batch(batch), atol=1e-4)
  log_probs = jax.nn.log_softmax(model.logits(batch))
  picked = np.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
  expected = np.sum(picked * (targets > 0), axis=1)
  np.testing.assert_allclose(scores, expected, atol=1e-4)
  assert scores.shape == (3,) and scores.dtype == np.float32

  tokens, beam_scores = model.decode_batch(
    batch, decoding=Decoding("beam", num_decodes=3)
  )
  decoded = model.decode_all(INPUTS, decoding=Decoding("beam", num_decodes=3))
  for row, of_input in enumerate(decoded):
    ids = np.asarray(tokens[row, -1])
    ends = np.flatnonzero(ids == 1)
    ids = ids[: ends[0] if len(ends) else None].tolist()
    assert of_input[0][0] == model.vocabulary.decode(ids)
    np.testing.assert_allclose(of_input[0][1], beam_scores[row, -1], atol=1e-4)


def test_the_best_decode_comes_first(model):
  decoding = Decoding("beam", num_decodes=4)
  decoded = model.decode_all(INPUTS, decoding=decoding)
  assert model.decode(INPUTS, decoding=decoding) == [d[0][0] for d in decoded]
  for of_input in decoded:
    scores = [score for _, score in of_input]
    assert scores == sorted(scores, reverse=True)
  assert decoded[0] == decoded[2]


@pytest.mark.parametrize("to", [Format.T5X, Format.T5X_LEGACY, Format.HF])
def test_every_format_gives_the_same_model(model, run, tmp_path, to):
  options = convert.Options(
    vocabulary=spm_models.with_sentinels("bpe") if to is Format.HF else None
  )
  place = convert.convert(run, tmp_path / "there", to, options)
  given = None if to is Format.HF else run / vocabulary.FILE
  assert t5cr.load(place).feature_lengths == {"inputs": 512, "targets": 128}
  other = t5cr.load(
    place, vocabulary=given, feature_lengths=model.feature_lengths
  )
  np.testing.assert_array_equal(
    other.score(INPUTS, TARGETS), model.score(INPUTS, TARGETS)
  )
  assert other.decode(INPUTS, max_decode_length=6) == model.decode(
    INPUTS, max_decode_length=6
  )


def test_the_command_takes_the_vocabulary_along(model, run, tmp_path, capsys):
  for to in ("t5x_legacy", "hf"):
    place = tmp_path / to
    assert cli.main(["convert", str(run), str(place), "--to", to]) == 0
    assert f"Wrote {place}" in capsys.readouterr().out
    # There is no other vocabulary that it could find.
    other = t5cr.load(place, feature_lengths=model.feature_lengths)
    assert other.decode(INPUTS) == model.decode(INPUTS)
  card = (tmp_path / "hf" / "README.md").read_text()
  assert card.startswith("---\n") and "No measured metrics" in card
  assert cli.main(["convert", str(run), str(tmp_path / "hf"), "--to=hf"]) == 2
  assert "is there already" in capsys.readouterr().err


def test_a_response_to_a_dialogue(model):
  turns = ["Hi!", "Hello. What do you like?", "Comedies"]
  asked = recommender.conversation(turns)
  assert model.respond(turns) == model.decode([asked])[0]
  said = list(zip(("user", "assistant", "user"), turns, strict=True))
  assert recommender.conversation(said) == asked


def test_a_dialogue_reads_as_in_the_task():
  tf = pytest.importorskip("tensorflow")
  from t5cr_tasks import preprocessors

  turns = ["Grüß Gott!", "Hello. What do you like?", "@ Amélie (2001) @"]
  record = {
    "roles": ["user", "assistant", "user"],
    "turns": turns,
    "response": "x",
    "dialogue_id": "1",
    "turn": 1,
    "recommended": ["x"],
  }
  dataset = tf.data.Dataset.from_tensors(record)
  (example,) = preprocessors.conversation(dataset).as_numpy_iterator()
  assert recommender.conversation(turns) == example["inputs"].decode()


@pytest.mark.parametrize(
  ("turns", "message"),
  [
    ([], "at least one"),
    ("hello", "a list of turns"),
    ([("bot", "hello")], "'bot'; known are user and assistant"),
    ([("user", "a", "b")], r"a pair \(role, text\)"),
  ],
)
def test_turns_that_cannot_be_used(turns, message):
  with pytest.raises(errors.UsageError, match=message):
    recommender.conversation(turns)


def test_inputs_that_cannot_be_used(model):
  with pytest.raises(errors.UsageError, match="3 inputs and 1 targets"):
    model.score(INPUTS, ["a"])
  with pytest.raises(errors.UsageError, match="give a list of texts"):
    model.decode("movielens tags: drama")


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"dtype": "int8"}, "dtype is 'int8'; known are float32"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"feature_lengths": {"targets": 4}}, "both sides"),
    ({"feature_lengths": {"inputs": 8, "targets": -1}}, "is -1"),
  ],
)
def test_arguments_that_cannot_be_used(run, given, message):
  with pytest.raises(errors.UsageError, match=message):
    t5cr.load(run, **given)


def test_a_batch_is_never_larger_than_asked(run):
  model = t5cr.load(run, batch_size=24)
  assert [model._rows(count) for count in (1, 3, 16, 17, 100)] == [1, 4] + [
    16
  ] * 3
  with pytest.raises(errors.UsageError, match="max_decode_length is -3"):
    model.decode(INPUTS, max_decode_length=-3)


def test_nothing_in_is_nothing_out(model):
  assert model.decode([]) == [] and model.decode_all([]) == []
  assert model.score([], []).shape == (0,)


def test_a_vocabulary_of_another_model_is_refused(run, tmp_path, monkeypatch):
  small = dataclasses.replace(CONFIG, vocab_size=128)
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  state = train.initial_state(train.TrainConfig(train_steps=0), small, mesh)
  with saving.Writer(tmp_path) as writer:
    writer.save(0, state, small, None)
  monkeypatch.setenv(
    vocabulary.ENVIRONMENT_VARIABLE, str(run / vocabulary.FILE)
  )
  other = t5cr.load(tmp_path)
  with pytest.raises(errors.UsageError, match="has only 128 rows"):
    other.decode(INPUTS)
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, str(tmp_path / "none"))
  with pytest.raises(errors.UsageError, match="cannot be read"):
    t5cr.load(tmp_path).decode(INPUTS)


@pytest.mark.parametrize("there", [False, True])
def test_a_wrong_path_says_what_was_looked_for(tmp_path, there):
  path = tmp_path / "run"
  if there:
    path.mkdir()
  with pytest.raises(errors.UsageError) as caught:
    t5cr.load(path)
  message = str(caught.value)
  for looked_for in (str(path), "checkpoint_<step>", "config.json"):
    assert looked_for in message


def test_the_page_of_examples_runs(
  run, tmp_path, monkeypatch, repository, capsys
):
  text = (repository / "docs" / "python.md").read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  (path,) = re.findall(r'load\("([^"]+)"\)', blocks[0])
  shutil.copytree(run, tmp_path / path)
  monkeypatch.chdir(tmp_path)
  exec("\n".join(blocks), {})
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 1 + 4 + 3 + 1
  assert re.fullmatch(r"log-likelihoods: -[\d.]+ and -[\d.]+ nats", lines[-1])


def test_neither_import_nor_use_needs_tensorflow(run):
  code = (
    "import sys\n"
    "import t5cr\n"
    "assert not {'jax', 'numpy'} & set(sys.modules)\n"
    f"model = t5cr.load({str(run)!r})\n"
    f"print(len(model.decode({INPUTS!r}, max_decode_length=2)))\n"
    "assert not {'tensorflow', 'seqio', 'torch'} & set(sys.modules)\n"
  )
  ran = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert (ran.returncode, ran.stdout.strip()) == (0, "3"), ran.stderr
