"""The commands of `t5cr`, by what they are about."""
