"""The command line: flags and configuration files, one module a group of commands.

May import everything.
"""
