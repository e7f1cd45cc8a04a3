"""Many runs: every method with every seed on one data set, in one folder.

May import: ``report``, ``training`` and what is below them.
"""
