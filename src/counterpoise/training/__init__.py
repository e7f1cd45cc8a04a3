"""One run: its settings, its model, its loop, its folder.

May import: ``evaluation`` and what is below it.
"""
