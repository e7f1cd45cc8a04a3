"""From a table to decoded files: manifests, plans, Arrow files, archives.

May import: ``data.readers``, the data sets of ``data``, and ``core``.
"""
