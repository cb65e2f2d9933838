"""Keeps TensorFlow quiet, and off the accelerator."""

import logging
import os
import sys
import tempfile


def import_tensorflow() -> None:
  """Imports TensorFlow without the lines that it prints while starting.

  TensorFlow writes them to the file descriptor itself, before any setting of
  its log level counts. Should the import fail, they are shown after all. It
  only reads data here, so the accelerator is left to JAX.
  """
  if "tensorflow" in sys.modules:
    return
  sys.stderr.flush()
  kept = os.dup(2)
  with tempfile.TemporaryFile() as noise:
    os.dup2(noise.fileno(), 2)
    try:
      import tensorflow

      tensorflow.config.set_visible_devices([], "GPU")
      # TFDS warns of it; whoever needs the data set says what to do.
      logging.getLogger("absl").addFilter(
        lambda record: not str(record.msg).startswith("Variant folder")
      )
    except BaseException:
      noise.seek(0)
      os.write(kept, noise.read())
      raise
    finally:
      os.dup2(kept, 2)
      os.close(kept)
