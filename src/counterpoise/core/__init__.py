"""What everything stands on: batches, tasks, labels, loaders, ranks, workers, files.

May import: ``errors``.
"""
