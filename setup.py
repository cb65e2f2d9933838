"""The one thing pyproject.toml has no words for: where gin/ lies.

The recipes stand at the root of the source tree, where users of t5x look for
them; an installed t5cr carries them as its data, `t5cr/gin`.
"""

import setuptools

setuptools.setup(
  packages=[
    *setuptools.find_packages(
      include=["t5cr", "t5cr.*", "t5cr_tasks", "t5cr_tasks.*"]
    ),
    "t5cr.gin",
  ],
  package_dir={"t5cr.gin": "gin"},
  package_data={"": ["*.html", "py.typed"], "t5cr.gin": ["**/*.gin"]},
  include_package_data=False,
)
