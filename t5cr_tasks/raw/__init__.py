"""The raw files as their publishers ship them: find, parse, validate."""
