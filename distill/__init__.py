"""Turn one task a large LLM does about OK into a small model you own.

Holds the version and the name of the three-line API, which is loaded when it is first asked for: importing
`distill` must stay free of torch, openai and rich.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.api import Student

__all__ = ["Student", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Student`, loaded now (PEP 562)."""
    if name == "Student":
        from distill.api import Student

        return Student
    raise AttributeError(f"module 'distill' has no attribute {name!r}")
