"""Where files are kept between runs: built kernels, simulated null laws, downloaded data."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "SIGREG_LAB_CACHE"


def cache_folder() -> Path:
    """The folder that ``$SIGREG_LAB_CACHE`` names, else the system's place for what programs keep for a user.

    That is, by platformdirs, ``$XDG_CACHE_HOME/sigreg-lab`` or ``~/.cache/sigreg-lab`` on Linux and
    ``~/Library/Caches/sigreg-lab`` on macOS. It need not be there yet.

    Raises:
        RuntimeError: no folder is named, and the user has no home.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    folder = platformdirs.user_cache_path("sigreg-lab", appauthor=False)
    if not folder.is_absolute():  # "~" that earlier versions of platformdirs could not resolve
        raise RuntimeError(f"this user has no home folder; name one for the cache in ${VARIABLE}")
    return folder
