"""What a method is, what it may touch while it trains, and the loop that steps it.

May import: ``models`` and what is below it.
"""
