"""The engine: T5 in JAX. It knows tensors, nothing of movies.

`main` reads gin files and runs the commands; `feed` is the one module that
needs TensorFlow and seqio; everything else takes arguments and arrays.
"""
