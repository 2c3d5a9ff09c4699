"""Build in a temporary folder, so that nothing stays here. All else is in pyproject.toml."""

import tempfile

from setuptools import setup

folder = tempfile.TemporaryDirectory()
setup(options={"build": {"build_base": folder.name}, "egg_info": {"egg_base": folder.name}})
