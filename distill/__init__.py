"""Turn one task a large LLM does about OK into a small model you own.

Holds the version and nothing else: importing `distill` must stay free of torch, openai and rich.
"""

__version__ = "0.1.0"
