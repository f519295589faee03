"""Debian's chromium, for the tests of pages."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def chromium_command(profile: Path) -> list[str]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--disable-quic", "--disable-dev-shm-usage"]
    return [*command, f"--user-data-dir={profile}"]


def run_in_page(
    page: Path, script: str, profile: Path, state: str = "", *options: str
) -> dict[str, Any]:
    """Open a page without a network, run the body of an async function in it, return its result.

    `state` is what follows the #. Anything on the browser's console fails the test.
    """
    command = [*chromium_command(profile), "--enable-logging=stderr", "--dump-dom"]
    command += ["--virtual-time-budget=20000", "--window-size=1280,900", *options]
    command += ["--proxy-server=127.0.0.1:9"]  # nobody listens there
    scripted = page.with_name(f"scripted-{page.name}")
    keep = "(found) => { document.body.dataset.found = JSON.stringify(found); }"
    added = f"<script>(async () => {{ {script}\n}})().then({keep});</script></body>"
    content = page.read_text().replace("</body>", added)
    if "script-src" not in content:  # a page without scripts forbids them
        content = _POLICY.sub("", content)
    scripted.write_text(content)
    command.append(f"{scripted.as_uri()}#{state}")
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, "the script came to no end"
    return dict(json.loads(html.unescape(found[1])))
