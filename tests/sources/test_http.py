"""Models on a web server of this machine: by ranges, and from a server that knows none."""

from __future__ import annotations

import http.server
import json
import re
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors_writer as writer
from program import diffai

from diffai.errors import SourceError
from diffai.sources.http import HttpFile
from diffai.sources.schemes import SCHEMES, open_url

WIDE = 200_000


def model(seed: float) -> bytes:
    """Two tensors, one of 800 kB."""
    values = {"a.weight": ("F32", (WIDE,), struct.pack("<f", seed) * WIDE), "b": ("F32", (2,), struct.pack("<2f", seed, 1))}
    return writer.build(values)


class Server(http.server.ThreadingHTTPServer):
    """Serves files of memory; counts what it sends."""

    files: dict[str, bytes]
    ranges = True
    etag = '"1"'
    requests: list[tuple[str, str]]
    sent = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        data = self.server.files.get(self.path.partition("?")[0])
        wanted = self.headers.get("Range", "")
        self.server.requests.append((self.path, wanted))
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved", "", 1) if "elsewhere" not in self.path else "file:///etc/passwd")
            self.end_headers()
            return
        if data is None:
            self.send_error(404)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if self.server.ranges else None
        stale = self.headers.get("If-Range", self.server.etag) != self.server.etag
        status, body = 200, data
        if match and not stale:
            start, end = int(match[1]), min(int(match[2]) + 1, len(data))
            if start >= len(data):
                self.send_error(416)
                return
            status, body = 206, data[start:end]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        self.end_headers()
        self.server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    server.files = {"/m/a.safetensors": model(1), "/m/b.safetensors": model(2), "/empty": b""}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_url_against_a_file(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges = ranges
    local = tmp_path / "b.safetensors"
    local.write_bytes(model(2))
    done = diffai(url(server, "/m/a.safetensors"), local, "--output", "json")
    records = [record["TensorStatsChanged"] for record in json.loads(done.stdout)]
    assert [(record[0], record[3]["max_abs"]) for record in records] == [("a.weight", 1.0), ("b", 1.0)], done.stderr
    assert diffai(url(server, "/m/b.safetensors?download=true"), local).stdout == "No differences found\n"
    assert diffai(f"file://{local}", local).stdout == "No differences found\n"


def test_headers_alone_cost_one_small_request(server: Server) -> None:
    done = diffai("show", "--shape-only", url(server, "/m/a.safetensors"))
    assert done.returncode == 0 and "a.weight" in done.stdout, done.stderr
    assert all(wanted for _, wanted in server.requests) and server.sent < 200_000 < len(server.files["/m/a.safetensors"])


def test_shards_are_beside_their_index(server: Server) -> None:
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"}}
    server.files["/s/model.safetensors.index.json"] = json.dumps(index).encode()
    for name in ("x", "y"):
        server.files[f"/s/{index['weight_map'][name]}"] = writer.build({name: ("F32", (1,), bytes(4))})
    done = diffai("show", url(server, "/s/model.safetensors.index.json"))
    assert done.returncode == 0 and "x" in done.stdout and "y" in done.stdout, done.stderr


def test_a_file_that_changes_meanwhile_is_an_error(server: Server) -> None:
    source = HttpFile(url(server, "/m/a.safetensors"))
    assert (source.identity, source.requests, source.random_access) == ("", True, True)
    assert source.read(0, 8) == model(1)[:8] and source.read(500_000, 10) == model(1)[500_000:500_010]
    source.verify_unchanged()
    server.etag = '"2"'
    with pytest.raises(SourceError, match="changed while being read"):
        source.read(100, 10)
    with pytest.raises(SourceError, match="changed while being read"):
        source.verify_unchanged()
    source.close()


def test_what_cannot_be_read_is_said_in_one_line(server: Server) -> None:
    for word, reason in (
        (url(server, "/none"), "404"), (url(server, "/moved/elsewhere"), ""), ("http://127.0.0.1:1/x", "refused"),
        ("s3://bucket/key", "not read"), ("http://user:secret@127.0.0.1/x", "not used"), ("file://host/x", "another machine"),
    ):  # fmt: skip
        done = diffai("show", word)
        assert done.returncode == 2 and reason in done.stderr and len(done.stderr.splitlines()) == 1, (word, done.stderr)
        assert "secret" not in done.stderr
    assert diffai("show", url(server, "/moved/m/a.safetensors")).returncode == 0
    assert "is empty" in diffai("show", url(server, "/empty")).stderr + diffai("show", url(server, "/empty")).stdout


@pytest.mark.parametrize("row", SCHEMES, ids=[row.name for row in SCHEMES])
def test_every_scheme_opens_its_urls_and_refuses_others(row: object, server: Server, tmp_path: Path) -> None:
    name = row.name  # type: ignore[attr-defined]
    (tmp_path / "x y.bin").write_bytes(b"abc")
    if name == "file":
        assert open_url(f"file://{tmp_path}/x%20y.bin") == str(tmp_path / "x y.bin")
    elif name == "http":
        source = open_url(url(server, "/m/a.safetensors"))
        assert not isinstance(source, str) and source.size == len(model(1))
    else:
        with pytest.raises(SourceError):
            open_url(f"{name}://127.0.0.1:1/x")


def test_urllib_is_loaded_for_urls_alone(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a.safetensors").write_bytes(model(1))
    code = f"import sys\nfrom diffai.snapshots.resolve import open_source\nopen_source({str(tmp_path / 'a.safetensors')!r})\nassert 'urllib.request' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
