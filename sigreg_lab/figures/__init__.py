"""Figures from rows of results: theme and kinds of picture, which compute nothing, and the figures of the paper."""
