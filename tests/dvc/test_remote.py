"""DVC remotes: exact byte ranges on a real S3 endpoint, and a remote that is a local folder."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import safetensors_writer as writer
from dvcrepo import DvcRepo, md5
from program import diffai

if importlib.util.find_spec("dvc") is None:
    pytest.skip("dvc is not installed (pip install 'diffai[dvc]')", allow_module_level=True)

MEGABYTES = 40
NOTE = "(header read from the DVC remote: shapes and dtypes compared, values not)"


def large(rows: int, fill: int) -> bytes:
    """A model of about 40 MB with a small header."""
    count = MEGABYTES * (1 << 20) // 4 // rows * rows
    return writer.build({"layer.weight": ("F32", (rows, count // rows), bytes([fill, 0, 0, 63]) * count),
                         "layer.bias": ("F32", (rows,), bytes(4 * rows))})  # fmt: skip


def put(endpoint: str, bucket: str, objects: dict[str, bytes]) -> Any:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=bucket)
    for name, data in objects.items():
        client.put_object(Bucket=bucket, Key=name, Body=data)
    return client


def key(data: bytes) -> str:
    return f"store/files/md5/{md5(data)[:2]}/{md5(data)[2:]}"


def test_header_by_exact_ranges(dvc: DvcRepo, s3: tuple[str, Any]) -> None:
    endpoint, traffic = s3
    old, new = large(256, 1), large(512, 2)
    put(endpoint, "models", {key(old): old, key(new): new})
    dvc.add("m.safetensors", old, cached=False, here=False)
    dvc.commit("one")
    dvc.add("m.safetensors", new, cached=False, here=False)
    dvc.commit("two")
    # The remote is configured after both commits: it is the work tree's that counts.
    config = f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://models/store\n    endpointurl = {endpoint}\n"
    (dvc.top / ".dvc" / "config").write_text(config)
    assert "is not here (41.9 MB)" in dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "*.dvc")
    assert {request.split()[0] for request in traffic.requests} == {"PUT"}  # nothing was read unasked
    dvc.repo.config("diffai.remote", "header")
    before = snapshot(dvc)
    text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "*.dvc")
    assert "~ layer.weight: shape=[256, 40960] -> [512, 20480]" in text
    assert NOTE in text
    assert traffic.sent < 2 * (64 << 10) + 1000, traffic.requests
    assert snapshot(dvc) == before
    dvc.repo.git("config", "--unset", "diffai.remote")
    traffic.sent = 0
    text = diffai("dvc", "diff", "HEAD~1", "HEAD", "--fetch-header", cwd=dvc.top).stdout
    assert "shape=[256, 40960] -> [512, 20480]" in text and NOTE in text
    assert traffic.sent < 2 * (64 << 10) + 1000, traffic.requests


def test_an_object_of_a_cloud_versioned_remote(dvc: DvcRepo, s3: tuple[str, Any]) -> None:
    endpoint, _ = s3
    client = put(endpoint, "versions", {})
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for rows in (256, 512):
        data = large(rows, 1)
        version = client.put_object(Bucket="versions", Key="store/m.safetensors", Body=data)["VersionId"]
        dvc.pointer("m.safetensors", f"- md5: {md5(data)}\n  size: {len(data)}\n  cloud:\n    s:\n      etag: e\n"
                                     f"      version_id: {version}\n")  # fmt: skip
        dvc.commit("version")
    config = f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://versions/store\n    endpointurl = {endpoint}\n"
    (dvc.top / ".dvc" / "config").write_text(config + "    version_aware = true\n")
    dvc.repo.config("diffai.remote", "header")
    text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "*.dvc")
    assert "shape=[256, 40960] -> [512, 20480]" in text, text
    assert NOTE in text


def containers(rows: int, size: int = 6 << 20) -> dict[str, bytes]:
    """One model of 40 layers in every container whose header is read, so large that its values are not."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    columns = size // 4 // 40 // rows
    weights = {f"layers.{k}.weight": torch.full((rows, columns), float(k)) for k in range(40)}
    training = {"state_dict": weights, "optimizer": {"state": {0: {"exp_avg": torch.ones(rows)}}}, "epoch": 3}
    found = {}
    for name, value, new in (
        ("zip.pt", weights, True),
        ("legacy.pt", weights, False),
        ("training.ckpt", training, True),
    ):
        buffer = io.BytesIO()
        torch.save(value, buffer, _use_new_zipfile_serialization=new)
        found[name] = buffer.getvalue()
    shapes = {name: ("F32", tuple(value.shape), value.numpy().tobytes()) for name, value in weights.items()}
    found["m.safetensors"] = writer.build(shapes)
    return found


def commit_versions(dvc: DvcRepo, config: str, versions: Iterable[dict[str, bytes]]) -> None:
    for files in versions:
        for path, data in files.items():
            dvc.add(path, data, cached=False, here=False)
        dvc.commit("version")
    (dvc.top / ".dvc" / "config").write_text(config)
    dvc.repo.config("diffai.remote", "header")


def test_headers_of_every_container_by_few_bytes(dvc: DvcRepo, s3: tuple[str, Any]) -> None:
    endpoint, traffic = s3
    versions = [containers(256), containers(512)]
    put(endpoint, "models", {key(data): data for files in versions for data in files.values()})
    config = f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://models/store\n    endpointurl = {endpoint}\n"
    commit_versions(dvc, config, versions)
    for path in versions[0]:
        traffic.requests.clear()
        traffic.sent = 0
        text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", f"{path}.dvc")
        assert "shape=[256, " in text and "-> [512, " in text and NOTE in text, text
        reads = [request for request in traffic.requests if request.startswith("GET")]
        assert traffic.sent <= 2 * (96 << 10), (path, traffic.sent)
        assert len(reads) <= 2 * 3 and all("bytes=" in request for request in reads), reads


def test_a_local_remote_is_read_as_sparingly(dvc: DvcRepo, tmp_path: Path) -> None:
    """What the whole program reads for large models, beyond what it reads for small ones: headers alone."""

    def bytes_read() -> int:  # of this process and the children that it has waited for
        text = Path("/proc/self/io").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("rchar")))

    if not Path("/proc/self/io").exists():
        pytest.skip("no /proc/self/io on this system")
    versions = [
        {f"{size}-{name}": data for size, count in (("large", 12 << 20), ("small", 1 << 20))
         for name, data in containers(rows, count).items() if not name.endswith("safetensors")}
        for rows in (64, 128)
    ]  # fmt: skip
    for files in versions:
        for data in files.values():
            path = tmp_path / "remote" / "files" / "md5" / md5(data)[:2] / md5(data)[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    commit_versions(dvc, "[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n", versions)
    cost = {}
    for size in ("small", "small", "large"):  # the first fills what programs keep between runs
        before = bytes_read()
        text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", f"{size}-*.dvc")
        cost[size] = bytes_read() - before
        assert text.count(NOTE) == 3 and text.count("-> [128, ") >= 3
    assert cost["large"] - cost["small"] < 512 << 10, cost


@pytest.mark.parametrize("index", [True, False], ids=["index", "shards alone"])
def test_shards_in_a_directory_of_a_remote(dvc: DvcRepo, s3: tuple[str, Any], index: bool) -> None:
    """List, index and shards are all in the remote alone; one shard is in the cache, which changes nothing."""
    endpoint, traffic = s3
    put(endpoint, "models", {})
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)
    for rows in (64, 128):
        shards = {f"model-{k}-of-00002.safetensors": writer.build({f"layer{k}.w": ("F32", (rows, 2**18 // rows), bytes(2**20))})
                  for k in ("00001", "00002")}  # fmt: skip
        if index:
            names = {f"layer{name[6:11]}.w": name for name in shards}
            shards["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()
        dvc.add_directory("ckpt", shards)
        dvc.commit("version")
    for path in sorted((dvc.cache / "files").rglob("*")):
        if path.is_file():
            client.upload_file(str(path), "models", "store/" + str(path.relative_to(dvc.cache)))
            if path.read_bytes() != shards["model-00001-of-00002.safetensors"]:
                path.unlink()
    config = f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://models/store\n    endpointurl = {endpoint}\n"
    (dvc.top / ".dvc" / "config").write_text(config)
    dvc.repo.config("diffai.remote", "header")
    traffic.sent = 0
    text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "ckpt.dvc")
    for k in ("00001", "00002"):
        assert f"~ layer{k}.w: shape=[64, 4096] -> [128, 2048]" in text, text
    assert NOTE in text
    assert traffic.sent < 6 * (64 << 10)


@pytest.fixture
def folder(dvc: DvcRepo, tmp_path: Path) -> DvcRepo:
    """Two versions whose objects are only in a remote that is a folder."""
    dvc.write(".dvc/config", "[core]\n    remote = here\n['remote \"here\"']\n    url = ../../remote\n")
    for data in (writer.simple(1), writer.simple(2)):
        dvc.add("m.safetensors", data, here=False)
        dvc.add_directory("ckpt", {"a.safetensors": data, "note.txt": data[:5]})
        dvc.commit("x")
    shutil.move(dvc.cache, tmp_path / "remote")
    return dvc


def test_local_remote_header_and_full(folder: DvcRepo) -> None:
    before = snapshot(folder)
    assert "is not here (184 bytes)" in folder.repo.git("diff", "HEAD~1", "HEAD")
    folder.repo.config("diffai.remote", "header")
    text = folder.repo.git("diff", "HEAD~1", "HEAD")
    assert "No differences found in names, shapes and dtypes (values were not compared)" in text
    assert text.count(NOTE) == 2
    folder.repo.config("diffai.remote", "full")
    text = folder.repo.git("diff", "HEAD~1", "HEAD")
    assert text.count("~ a.weight: mean=1.3125->2.3125") == 2
    assert "downloaded from the DVC remote for this comparison" in text
    assert snapshot(folder) == before


def test_what_a_remote_cannot_give(folder: DvcRepo, tmp_path: Path) -> None:
    folder.repo.config("diffai.remote", "header")
    shutil.rmtree(tmp_path / "remote")
    text = folder.repo.git("diff", "HEAD~1", "HEAD", "--", "m.safetensors.dvc")
    assert "(not in DVC remote here either) is not here (184 bytes)" in text
    for config, said in (
        ("", "no DVC remote is configured as the default"),
        ("[core]\n    remote = gone\n", "gone"),
        ("[core]\n    remote = x\n['remote \"x\"']\n    url = gs://bucket/x\n", "DVC remote default: "),
        ("[unknown]\n    a = 1\n", "extra keys not allowed"),
    ):
        (folder.top / ".dvc" / "config").write_text(config)
        text = folder.repo.git("diff", "HEAD~1", "HEAD", "--", "m.safetensors.dvc")
        assert said in text, (config, text)
        assert "! not compared" in text


@pytest.mark.parametrize("mode", ["header", "full"])
def test_a_pointer_cannot_have_a_file_of_this_machine_read(folder: DvcRepo, tmp_path: Path, mode: str) -> None:
    """By an import from a file URL, or by a version in a remote that is a folder: neither has versions of files."""
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(writer.simple(3, ("secret.weight",)))
    size = secret.stat().st_size
    pointers = {
        "import": f"deps:\n- path: file://{secret}\n  version_id: x\nouts:\n- path: m.safetensors\n  size: {size}\n",
        "cloud": f"outs:\n- path: {str(secret)[1:]}\n  size: {size}\n  cloud:\n    root:\n      version_id: x\n",
    }
    folder.repo.config("diffai.remote", mode)
    (folder.top / ".dvc" / "config").write_text("[core]\n    remote = root\n['remote \"root\"']\n    url = /\n")
    for text in pointers.values():
        folder.write("m.safetensors.dvc", text)
        for done in (
            folder.repo.git("diff", "--", "m.safetensors.dvc"),
            diffai("HEAD", "--", "m.safetensors.dvc", cwd=folder.top).stdout,
        ):
            assert "secret.weight" not in done and "unexpected" not in done, done
        assert "keeps no versions of its files" in folder.repo.git("diff", "--", "m.safetensors.dvc")


def test_a_wrong_object_of_a_remote_is_not_believed(folder: DvcRepo, tmp_path: Path) -> None:
    path = tmp_path / "remote" / "files" / "md5" / md5(writer.simple(2))[:2] / md5(writer.simple(2))[2:]
    path.write_bytes(writer.simple(3))
    folder.repo.config("diffai.remote", "full")
    text = folder.repo.git("diff", "HEAD~1", "HEAD", "--", "m.safetensors.dvc")
    assert "! new: " in text and "the DVC remote gave another content than" in text


def test_a_wrong_word_in_the_configuration(folder: DvcRepo) -> None:
    folder.repo.config("diffai.remote", "always")
    text = folder.repo.git("diff", "HEAD~1", "HEAD")
    assert "git config diffai.remote must be one of never, header, full" in text


def snapshot(dvc: DvcRepo) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(dvc.top.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(dvc.top).parts
    }
