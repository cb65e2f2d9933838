"""Measurements of the project beside straightforward code, in one run."""
