"""A page as a reader's browser shows it: chromium without a window, where the machine has one."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000", "--enable-logging=stderr",
)  # fmt: skip
_PROBE = """
<script>
window.problems = [];
addEventListener("error", event => problems.push(String(event.message || event.target.src)), true);
addEventListener("securitypolicyviolation", event => problems.push(event.blockedURI));
</script>
"""
_FRAMES = """<!doctype html><html><body>FRAMES<pre id="told"></pre><script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, reach = page.documentElement.scrollWidth;
    const within = element => { const box = element.getBoundingClientRect();
      return box.width < 1 || box.right <= frame.clientWidth + 1 || element.closest(".wide") !== null; };
    return {
      width: frame.clientWidth, reach, problems: frame.contentWindow.problems,
      beyond: [...page.querySelectorAll("main *")].filter(e => !within(e)).map(e => e.outerHTML.slice(0, 120)),
      broken: [...page.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt),
      buttons: page.querySelectorAll("button, input, summary, a[href]").length,
      unreachable: [...page.querySelectorAll("button, input, summary, a[href]")].filter(e => e.tabIndex < 0).length,
    };
  });
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script></body></html>"""


def look(page: Path, scratch: Path, widths: tuple[int, ...] = (390, 1440)) -> list[dict[str, Any]]:
    """What a page is like at each width: how far it reaches, what does not fit, load or take the keyboard."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + _PROBE, 1)
    frames = "".join(f'<iframe width={width} height=900 srcdoc="{html.escape(text)}"></iframe>' for width in widths)
    whole = scratch / "frames.html"
    whole.write_text(_FRAMES.replace("FRAMES", frames), encoding="utf-8")
    command = [browser, *_FLAGS, f"--user-data-dir={scratch / 'profile'}", "--dump-dom", whole.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="told">(.*?)</pre>', dom, flags=re.S)
    assert found, dom[-2000:]
    told: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return told
