"""Models: encoders and a fusion, and somebody's own model made into one.

May import: ``fusion`` and what is below it.
"""
