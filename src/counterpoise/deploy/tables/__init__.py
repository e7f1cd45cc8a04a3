"""Answers to the rows of a table in a file, in batches, with what was asked beside them.

May import: the rest of ``deploy`` and what is below it.
"""
