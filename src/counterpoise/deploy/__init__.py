"""A trained model that stands alone: packed, opened elsewhere, asked, exported and served.

May import: ``evaluation`` and what is below it.
"""
