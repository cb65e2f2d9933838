import json

import numpy as np

from t5cr_tasks import postprocessors


def test_conversation_target_names_its_dialogue():
  example = {
    "dialogue_id": b"7",
    "turn": np.int32(3),
    "recommended": np.array(["Amélie (2001)".encode()], object),
    "inputs": np.array([5, 1]),
  }
  target = postprocessors.conversation("hi", example=example, is_target=True)
  assert target == {
    "text": "hi",
    "dialogue_id": "7",
    "turn": 3,
    "recommended": ["Amélie (2001)"],
  }
  assert json.loads(json.dumps(target)) == target


def test_conversation_prediction_stays_text():
  assert postprocessors.conversation("hi", example={}, is_target=False) == "hi"
  assert postprocessors.conversation("hi") == "hi"


def test_probe_target_is_the_candidates_identity():
  example = {
    "probe_id": np.int64(12),
    "candidate": np.int32(1),
    "rank": np.int32(4),
    "decile": np.int32(9),
    "named": np.int32(-1),
    "tag": b"film noir",
    "movie": b"Heat (1995)",
    "related": b"Fargo (1996)",
    "negative": b"Jaws (1975)",
    "template": b"short",
    "targets": np.array([5, 9, 1]),
  }
  target = postprocessors.probe("sure", example=example, is_target=True)
  assert target == {
    "probe_id": 12,
    "candidate": 1,
    "rank": 4,
    "decile": 9,
    "named": -1,
    "tag": "film noir",
    "movie": "Heat (1995)",
    "related": "Fargo (1996)",
    "negative": "Jaws (1975)",
    "template": "short",
    "target_tokens": 3,
  }
  assert json.loads(json.dumps(target)) == target


def test_probe_prediction_stays_text():
  assert postprocessors.probe("sure", example={}, is_target=False) == "sure"
