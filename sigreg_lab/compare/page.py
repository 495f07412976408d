from typing import Any


def render(found: Any, about: Any) -> str:
    return "<html></html>"
