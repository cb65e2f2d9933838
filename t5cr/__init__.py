"""T5-CR: one T5 that holds a conversation and recommends.

`import t5cr` is light: neither JAX nor TensorFlow is imported until a command
or a function needs it.
"""

__version__ = "0.1.0"
