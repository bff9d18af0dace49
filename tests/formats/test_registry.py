from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors_writer as writer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai.errors import FormatError, UnsupportedFormatError, UsageError
from diffai.formats import foreign, registry
from diffai.formats.base import Limits
from diffai.formats.registry import NotAModelError
from diffai.formats.table import FORMATS, NOT_READ, Row, may_be_named_so, model_globs, named_like_a_model
from diffai.snapshots.resolve import open_source
from diffai.sources.local import MemoryBytes

LIMITS = Limits()


def named(data: bytes, name: str = "model") -> MemoryBytes:
    return MemoryBytes(data, label=name)


def zipped(*members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            archive.writestr(member, b"content")
    return file.getvalue()


# what it is: (content, name, what the message calls it)
MODELS: dict[str, tuple[bytes, str, str]] = {
    "ggml": (b"lmgg" + bytes(20), "m.bin", "GGML"),
    "ggjt": (b"tjgg" + bytes(20), "m.bin", "GGML"),
    "executorch": (b"\x1c\0\0\0ET12" + bytes(20), "m", "ExecuTorch (.pte)"),
    "tensorrt": (b"ftrt" + bytes(20), "m", "TensorRT"),
    "xgboost, old": (b"binf" + bytes(200), "m.model", "XGBoost (old binary)"),
    "xgboost, old, no magic": (bytes(136) + b"\x10" + bytes(7) + b"reg:squarederror" + bytes(9), "m", "XGBoost (old binary)"),
    "orbax": (b"\x0c\xdb\x3a\x2a" + bytes(20), "manifest.ocdbt", "Orbax (OCDBT)"),
    "core ml package": (zipped("Data/com.apple.CoreML/model.mlmodel"), "m", "Core ML (.mlpackage in a zip)"),
    "by its suffix only": (b"\x00\xff\x00\xff" * 9, "m.ggml", "GGML"),
}  # fmt: skip

UNREAD = ("ggml", "orbax", "executorch", "tensorrt", "xgboost, old")


@pytest.mark.parametrize("case", UNREAD)
def test_bytes_decide_of_what_is_not_read(case: str, tmp_path: Path) -> None:
    """Equal bytes are equal; of others it is said that they were not compared, and the exit code is that of trouble."""
    data, name, title = MODELS[case]
    contents = {"a": data + bytes(2000), "b": data + bytes(2000), "c": data + bytes(1999) + b"x"}
    for folder, content in contents.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    for other, code, equal in (("b", 0, True), ("c", 2, False)):
        words = [sys.executable, "-m", "diffai", f"a/{name}", f"{other}/{name}", "--format", "json"]
        run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        report = json.loads(run.stdout)
        assert (run.returncode, report["equal"]) == (code, equal)
        assert all(title in side["reason"] for side in report["not_compared"]) and len(report["not_compared"]) == 2


OTHERS: dict[str, tuple[bytes, str, str]] = {
    "html": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "m.safetensors", "an HTML page"),
    "html with a blank line": (b"\n <HTML>", "m.pt", "an HTML page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "m.pt", "XML"),
    "json": (b'{"error": "Repository not found"}', "m.safetensors", "JSON text"),
    "text": (b"Entry not found", "m.safetensors", "text"),
    "one letter": (b"x", "m.safetensors", "text"),
    "long text": ("Wörter und Wörter\n".encode() * 1000, "m.bin", "text"),
    "text cut inside a character": (b"x" * 4095 + "ü".encode() * 10, "m.bin", "text"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 3\n", "m.pt",
                    "a git-LFS pointer"),
    "dvc pointer": (b"outs:\n- md5: 0123\n  path: m.pt\n", "m.pt", "a DVC pointer"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "m.pt", "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(20), "m.pt", "a JPEG image"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(20), "m.txt.gz", "a gzip archive"),
    "zip": (zipped("readme.txt"), "m.zip", "a zip archive"),
    "program": (b"\x7fELF\x02\x01" + bytes(20), "m.bin", "a program (ELF)"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_models_that_are_not_read_yet_are_called_by_name(case: str) -> None:
    data, name, title = MODELS[case]
    with pytest.raises(UnsupportedFormatError) as error:
        registry.open_checkpoint(named(data, name), LIMITS)
    assert not isinstance(error.value, NotAModelError)
    assert error.value.reason.endswith(f" {title}, which diffai does not read")


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_model_is_said(case: str) -> None:
    data, name, kind = OTHERS[case]
    with pytest.raises(NotAModelError) as error:
        registry.open_checkpoint(named(data, name), LIMITS)
    assert error.value.kind == kind
    assert error.value.reason.startswith(f"is {kind}, not a model")


def test_empty() -> None:
    with pytest.raises(NotAModelError, match=r"^is empty \(0 bytes\)$"):
        registry.open_checkpoint(named(b"", "m.safetensors"), LIMITS)


def test_unknown_content() -> None:
    with pytest.raises(UnsupportedFormatError, match=r"^is of no format that diffai knows$"):
        registry.open_checkpoint(named(b"\0\xff" * 99, "m.dat"), LIMITS)


def test_content_beats_the_suffix() -> None:
    assert registry.recognise(named(writer.simple(), "m.onnx")).NAME == "safetensors"
    index = json.dumps({"metadata": {}, "weight_map": {}}).encode()
    assert registry.recognise(named(index, "m.bin")).NAME == "sharded"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x01\x02\x03", "ST01"),
        (writer.raw(b"{}", length=1 << 60), "ST02"),
        (writer.simple()[:60], "ST02"),
        (writer.raw(b"[" * 200_000), "ST04"),
        (bytes(40), "ST04"),
    ],
)
def test_damaged_safetensors_are_judged_as_such_by_their_suffix(data: bytes, code: str) -> None:
    with pytest.raises(FormatError) as error:
        registry.open_checkpoint(named(data, "some/M.SafeTensors"), LIMITS)
    assert (error.value.code, error.value.format) == (code, "safetensors")


def test_a_truncated_file_is_recognised_without_its_suffix() -> None:
    assert registry.recognise(named(writer.simple()[:60], "blob")).NAME == "safetensors"


def test_torch_files_by_content(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for name, options in {"m.h5": {}, "m.tar": {"_use_new_zipfile_serialization": False}}.items():
        torch.save({"w": torch.ones(2)}, tmp_path / name, **options)
        source = open_source(str(tmp_path / name))
        assert registry.recognise(source).NAME == "torch"  # type: ignore[arg-type]
        assert list(registry.open_checkpoint(source, LIMITS).tensors) == ["w"]  # type: ignore[arg-type]


def test_input_format_overrides() -> None:
    assert {"safetensors", "sharded", "torch"} <= set(registry.input_formats())
    with pytest.raises(FormatError) as error:
        registry.open_checkpoint(named(b"<html>", "m.pt"), LIMITS, "safetensors")
    assert error.value.code == "ST01"
    assert registry.check(named(writer.simple()), LIMITS, "safetensors") == ()
    with pytest.raises(UsageError, match="did you mean safetensors"):
        registry.open_checkpoint(named(b"x"), LIMITS, "safetensor")


@pytest.mark.parametrize("row", FORMATS, ids=[row.name for row in FORMATS])
def test_every_row_is_a_format(row: Row) -> None:
    module = registry._load(row)
    assert row.name == module.NAME and row.title and row.globs
    for member in ("recognise", "open_checkpoint", "check", *(("open_directory", "check_directory") if row.folder else ())):
        assert callable(getattr(module, member))
    for suffix in row.suffixes:  # a damaged file is called what its name says
        assert suffix == suffix.lower() and suffix.startswith(".")
        with pytest.raises(FormatError) as caught:
            registry.open_checkpoint(named(b"\1\2\3" * 30, f"model{suffix}"), LIMITS)
        assert not isinstance(caught.value, UnsupportedFormatError) and caught.value.format
    for glob in row.globs:
        name = glob.replace("*", "x")
        assert named_like_a_model(f"some/folder/{name.upper()}") is not row.arrays
        assert may_be_named_so(name) is not row.arrays


def test_lists_that_cannot_be_derived_know_every_row() -> None:
    """The hooks' file pattern, what install registers, and the suffixes of pickles without a magic number."""
    from diffai.formats.torch.recognition import _PICKLE_SUFFIXES
    from diffai.git.attributes import DEFAULT_GLOBS

    names = [glob.replace("*", "x") for glob in model_globs()]
    names += [f"x{suffix}" for suffixes, _ in NOT_READ for suffix in suffixes]
    hooks = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    pattern = re.compile(next(hook["files"] for hook in hooks if "pdparams" in hook["files"]))
    assert not pattern.search("folder/notes.txt")
    for name in [*names, "m.safetensors.dvc", "sub/dvc.lock"]:
        assert pattern.search(f"folder/{name}"), name
    assert set(model_globs()) <= set(DEFAULT_GLOBS)
    torch = next(row for row in FORMATS if row.name == "torch")
    assert set(torch.suffixes) <= set(_PICKLE_SUFFIXES)


def test_arrays_are_data_and_no_models() -> None:
    assert not any(named_like_a_model(name) or may_be_named_so(name) for name in ("features.npy", "a/b.npz"))


def test_what_is_not_read_yet_is_still_a_model_by_its_name() -> None:
    assert all(named_like_a_model(name) for name in ("a.onnx", "A.GGUF", "sub/forest.joblib", "net.keras", "x.pb"))
    assert not any(named_like_a_model(name) for name in ("notes.txt", "bin", "a.bin", "model.py", "config.json"))


@settings(max_examples=400, deadline=None)
@given(st.one_of(
    st.binary(max_size=300),
    st.builds(lambda a, b: a + b, st.sampled_from([d[:12] for d, _, _ in [*MODELS.values(), *OTHERS.values()]]),
              st.binary(max_size=200)),
), st.sampled_from(["m", "m.pt", "m.safetensors", "m.onnx", "m.index.json", "m.mlmodel"]))  # fmt: skip
def test_nothing_but_our_errors(data: bytes, name: str) -> None:
    foreign.identify(data or b"\0", len(data))
    for action in (registry.open_checkpoint, registry.check):
        try:
            action(named(data, name), LIMITS)
        except FormatError as error:
            assert "\n" not in error.reason


def test_an_ordinary_pickle_is_not_loaded() -> None:
    with pytest.raises(FormatError):
        registry.open_checkpoint(named(pickle.dumps({"a": 1}), "m.pkl"), LIMITS)


def test_corpus_singles(corpus: Path) -> None:
    readers = {"safetensors/silero_vad_16k.safetensors": "safetensors", "pt/facenet_pnet.pt": "torch"}
    for name, module in readers.items():
        assert module == registry.recognise(open_source(str(corpus / "singles" / name))).NAME  # type: ignore[arg-type]
