"""The version, where everything can read it, and the versions of Python that it runs on."""

__version__ = "0.1.0"
PYTHON = ">=3.10"
