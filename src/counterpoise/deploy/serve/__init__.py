"""A server that answers requests over HTTP: limits, uploads, micro-batches, a page with a form.

May import: ``deploy``, ``evaluation`` and what is below it.
"""
