"""Text that comes from files, such as names of columns, as text: nothing in it can steer a terminal or a page."""


def plain(text: str) -> str:
    """``text`` with control characters, direction marks and stray surrogates written out, as in ``\\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
