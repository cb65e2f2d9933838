"""T5's public vocabulary, as it is read where nothing else is set."""

import pytest

from t5cr_tasks import vocabulary


@pytest.mark.network
def test_the_public_vocabulary_has_the_ids_of_t5(monkeypatch):
  monkeypatch.delenv(vocabulary.ENVIRONMENT_VARIABLE, raising=False)
  assert vocabulary.default_vocabulary().vocab_size == 32_100
