"""DVC repositories laid out by hand, which every machine can run, and real DVC where it is installed."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dvcrepo import DvcRepo, RunDvc
from gitrepo import Repo
from preloaded_dvc import PreloadedDvc
from program import DIFFAI, diffai

Template = Callable[[str, Callable[[Repo], None]], Repo]
"""``template(name, make)``: a copy of the repository that ``make`` makes once."""


@pytest.fixture
def isolated(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without configuration of DVC, which neither reports nor looks for its own updates."""
    for name, folder in (("DVC_SYSTEM_CONFIG_DIR", "system"), ("DVC_GLOBAL_CONFIG_DIR", "global"),
                         ("DVC_SITE_CACHE_DIR", "site")):  # fmt: skip
        monkeypatch.setenv(name, str(home / "dvc" / folder))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("CI", "1")
    return home


@pytest.fixture
def dvc(isolated: Path, repo: Repo) -> DvcRepo:
    """A DVC repository at the top of a git repository in which diffai is installed."""
    made = DvcRepo(repo)
    made.commit("dvc init")
    result = diffai("install", cwd=repo.top)
    assert result.returncode == 0, result.stderr
    return made


@pytest.fixture(scope="session")
def preloaded() -> Iterator[PreloadedDvc]:
    """The real dvc, imported once; skipped where the extra is not installed."""
    if importlib.util.find_spec("dvc") is None:
        pytest.skip("dvc is not installed (pip install 'diffai[dvc]')")
    server = PreloadedDvc()
    yield server
    server.close()


@pytest.fixture
def real_dvc(isolated: Path, preloaded: PreloadedDvc) -> RunDvc:
    """Runs the real ``dvc``."""

    def run(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        path = f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}"
        done = preloaded.run(arguments, cwd, {**os.environ, "PATH": path})
        assert not check or done.returncode == 0, f"dvc {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def template(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Repositories that are made by the first test that wants them, of whatever worker, and copied for each."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def copy(name: str, make: Callable[[Repo], None]) -> Repo:
        kept = shared / f"template-{name}"
        with (shared / f"template-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                make(Repo.init(tmp_path / "template"))
                (tmp_path / "template").rename(kept)
        shutil.copytree(kept, tmp_path / "repo", symlinks=True)
        return Repo(tmp_path / "repo")

    return copy


@dataclass
class Traffic:
    """What went over the wire."""

    requests: list[str] = field(default_factory=list)
    sent: int = 0


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Traffic]]:
    """A real S3 endpoint on loopback that counts the bytes it sends: its URL, and the traffic."""
    for module in ("moto", "dvc_s3", "boto3"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (pip install 'dvc[s3]' 'moto[server]')")
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    traffic = Traffic()
    inner = DomainDispatcherApplication(create_backend_app)

    def counting(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: Any, *rest: Any) -> Any:
            if environ["REQUEST_METHOD"] == "GET":
                traffic.sent += int(dict(headers).get("Content-Length", 0))
            words = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", ""))
            traffic.requests.append(" ".join(words))
            return start_response(status, headers, *rest)

        return inner(environ, start)

    server = make_server("127.0.0.1", 0, counting, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", traffic
    server.shutdown()
    thread.join()
