"""From what users bring to the samples of a model: arrays, cells of tables, files.

May import: ``data`` and ``core``.
"""
