"""Metrics of answers against gold, and the statistics behind a verdict.

Refuses to know models, files or money: answers and gold in, numbers out.
"""
