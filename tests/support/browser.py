"""A real browser: Chromium, driven over the WebDriver protocol by the standard library alone.

Protocol: https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_KEYS = {"Escape": "\ue00c", "Enter": "\ue007", "Left": "\ue012", "Right": "\ue014", "Up": "\ue013", "Down": "\ue015"}


class Browser:
    """One window."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._session = ""

    def start(self, *, scripts: bool = True, arguments: tuple[str, ...] = ()) -> None:
        """Open the window; without ``scripts`` pages run none."""
        options: dict[str, Any] = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                     "--window-size=1280,900", *arguments],
        }  # fmt: skip
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._server + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with _NO_PROXY.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._send(method, f"/session/{self._session}{path}", body)

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a file; what the console said before is forgotten."""
        self._do("POST", "/url", {"url": "about:blank"})
        self.console()
        self._do("POST", "/url", {"url": page.as_uri() + fragment})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a function body in the page."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def keys(self, *keys: str) -> None:
        """Press keys, one after the other."""
        actions = [{"type": kind, "value": _KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Click the first element that matches, where a person would."""
        found = self._do("POST", "/element", {"using": "css selector", "value": selector})
        self._do("POST", f"/element/{next(iter(found.values()))}/click", {})

    def console(self) -> list[str]:
        """What the console said since it was last asked: errors of scripts, of the policy, of the network."""
        return [entry["message"] for entry in self._do("POST", "/se/log", {"type": "browser"})]

    def screenshot(self) -> bytes:
        """The window as PNG."""
        import base64

        return base64.b64decode(self._do("GET", "/screenshot"))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol, such as ``Emulation.setEmulatedMedia``."""
        return self._do("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def quit(self) -> None:
        """Close the window."""
        if self._session:
            with suppress(OSError, AssertionError):
                self._do("DELETE", "")


@contextmanager
def browsing(*, scripts: bool = True, arguments: tuple[str, ...] = ()) -> Iterator[Browser]:
    """A window, and its driver on a port of this machine that is free; both end with the block."""
    assert DRIVER is not None
    with tempfile.TemporaryDirectory(prefix="diffai-browser") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=out)
        assert driver.stdout is not None
        try:
            port = ""
            for line in driver.stdout:
                match = re.search(rb"started successfully on port (\d+)", line)
                if match:
                    port = match[1].decode()
                    break
            browser = Browser(f"http://127.0.0.1:{port}")
            browser.start(scripts=scripts, arguments=(f"--user-data-dir={folder}/profile", *arguments))
            try:
                yield browser
            finally:
                browser.quit()
        finally:
            driver.terminate()
            driver.communicate(timeout=20)
