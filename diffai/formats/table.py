"""The table of formats: one row says all that the program knows of a format without loading its reader.

To add a format: write ``diffai/formats/NAME.py`` (or a package) as :class:`diffai.formats.base.Format` describes, add
a row here, and its test. What ``install`` registers, what gates and directories take for a model, the words of
``--input-format`` and the lists in help texts and docs follow from the rows.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from diffai.frozen import frozen


@frozen
class Row:
    """One format.

    Attributes:
        name: the word for ``--input-format``, and what people call it in one word.
        title: for sentences: ``PyTorch (zip, legacy, TorchScript, pickle)``.
        module: what reads it; loaded only for content that may be its.
        magics: (offset, bytes) of which one at least stands in every file; () where there is no such thing.
        firsts: the bytes that a file without magic can begin with; b"" = any.
        suffixes: names (lower case) that decide where content says nothing, so that a damaged file is called right.
        globs: what ``install`` registers, and what is a model by its name alone.
        streams: whether it can be read in one pass from a stream, without a temporary copy.
        extra: the extra that some files of it need, "" = none.
        folder: whether a folder (not a file) is the model.
        arrays: whether it holds plain arrays, which are data unless somebody says that they are a model.
        companions: files that hold values of a model beside them: (pattern of the file's path, glob of the
            model's path, in which ``{0}`` is the pattern's first group).
        below: folders below that of the model in which such files lie.
        names_files: whether a file of it names files beside it that hold its values, whatever they are called.
        package: (file that a folder of this format has, path of its one model below the folder).

    """

    name: str
    title: str
    module: str
    magics: tuple[tuple[int, bytes], ...] = ()
    firsts: bytes = b""
    suffixes: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    streams: bool = False
    extra: str = ""
    folder: bool = False
    arrays: bool = False
    companions: tuple[tuple[str, str], ...] = ()
    below: tuple[str, ...] = ()
    names_files: bool = False
    package: tuple[str, str] = ("", "")

    def may_be(self, head: bytes) -> bool:
        """Whether content that begins like this is worth loading the reader for, which then decides."""
        if self.magics:
            return any(head.startswith(magic, at) for at, magic in self.magics)
        return not self.firsts or head[:1] in self.firsts


#: The first four bytes that a file of MATLAB 4 can have: a number that says of what kind its first matrix is.
_MATLAB_4 = tuple(
    (big + 10 * dtype + kind).to_bytes(4, "big" if big else "little")
    for big in (0, 1000) for dtype in range(6) for kind in range(3)
)  # fmt: skip

#: Asked in this order whether content is theirs.
FORMATS = (
    Row("safetensors", "safetensors", "diffai.formats.safetensors", magics=((5, b"\0\0\0"),),
        suffixes=(".safetensors",), globs=("*.safetensors",), streams=True,
        companions=((r"(.*/)?adapter_config\.json", "{0}adapter_model.safetensors"),
                    (r"(.*/)?adapter_config\.json", "{0}adapter_model.bin"))),
    Row("sharded", "sharded safetensors or PyTorch (index JSON, or a directory of shards)", "diffai.models.sharded",
        firsts=b"{ \t\r\n\xef", suffixes=(".index.json",),
        globs=("*.safetensors.index.json", "*.bin.index.json"), folder=True, names_files=True),
    Row("gguf", "GGUF", "diffai.formats.gguf", magics=((0, b"GGUF"),), suffixes=(".gguf",), globs=("*.gguf",)),
    Row("keras", "Keras 3", "diffai.formats.keras", magics=((0, b"PK\x03\x04"),), suffixes=(".keras",),
        globs=("*.keras",)),
    Row("hdf5", "HDF5 (Keras, MATLAB 7.3)", "diffai.formats.hdf5",
        magics=tuple((at, b"\x89HDF\r\n\x1a\n") for at in (0, 512, 1024, 2048)), suffixes=(".h5", ".hdf5"),
        globs=("*.h5", "*.hdf5")),
    Row("matlab", "MATLAB 4 to 7", "diffai.formats.matlab",
        magics=((126, b"IM"), (126, b"MI"), *((0, start) for start in _MATLAB_4)), suffixes=(".mat",),
        globs=("*.mat",)),
    Row("xgboost", "XGBoost (JSON, UBJSON)", "diffai.formats.boosting.xgboost", firsts=b"{ \t\r\n",
        suffixes=(".ubj",), globs=("*.ubj",)),
    Row("lightgbm", "LightGBM", "diffai.formats.boosting.lightgbm", magics=((0, b"tree\n"), (0, b"tree\r\n")),
        suffixes=(".lgb",), globs=("*.lgb",)),
    Row("catboost", "CatBoost", "diffai.formats.boosting.catboost", magics=((0, b"CBM1"),), suffixes=(".cbm",),
        globs=("*.cbm",)),
    Row("coreml", "Core ML", "diffai.formats.coreml", firsts=b"\x08", suffixes=(".mlmodel",), globs=("*.mlmodel",),
        companions=((r"(.*/)?weights/[^/]+\.bin", "{0}model.mlmodel"),),
        below=("weights",), package=("Manifest.json", "Data/com.apple.CoreML/model.mlmodel")),
    Row("onnx", "ONNX", "diffai.formats.onnx", firsts=b"\x08", suffixes=(".onnx",), globs=("*.onnx",), names_files=True,
        companions=((r"(.+\.onnx)[._](?:data|weights)(?:_\d+)?", "{0}"), (r"(.+)\.data", "{0}.onnx"),
                    (r"(.*/)?weights\.pb", "{0}*.onnx"))),
    Row("tf-checkpoint", "TensorFlow checkpoint", "diffai.formats.tensorflow", magics=((0, b"\0\0"),),
        suffixes=(".ckpt.index",),
        globs=("*.ckpt.index", "*.ckpt-*.index", "ckpt-*.index", "variables.index"),
        companions=((r"(.+)\.data-\d{5}-of-\d{5}", "{0}.index"),)),
    Row("tf-graph", "TensorFlow (SavedModel or graph)", "diffai.formats.tensorflow.graph", firsts=b"\x08\n",
        suffixes=(".pb",), globs=("*.pb",),
        companions=((r"(.*/)?variables/variables\.(?:index|data-\d{5}-of-\d{5})", "{0}saved_model.pb"),),
        below=("variables",)),
    Row("openvino", "OpenVINO", "diffai.formats.openvino", firsts=b"<\xef \t\r\n", globs=("openvino_*.xml",),
        companions=((r"(.+)\.bin", "{0}.xml"),)),
    Row("tflite", "TensorFlow Lite", "diffai.formats.tflite", magics=((4, b"TFL3"),), suffixes=(".tflite",),
        globs=("*.tflite",)),
    Row("flax", "Flax (msgpack)", "diffai.formats.flax", firsts=bytes((*range(0x81, 0x90), 0xDE, 0xDF)),
        suffixes=(".msgpack",), globs=("*.msgpack",)),
    Row("dcp", "PyTorch distributed checkpoints (.metadata)", "diffai.formats.dcp", magics=((0, b"\x80"),),
        suffixes=(".metadata",), globs=(".metadata",), companions=((r"(.*/)?__\d+_\d+\.distcp", "{0}.metadata"),)),
    Row("torch-export", "torch.export (.pt2)", "diffai.formats.pt2", magics=((0, b"PK\x03\x04"),), suffixes=(".pt2",),
        globs=("*.pt2",)),
    Row("torch", "PyTorch (zip, legacy, TorchScript, pickle)", "diffai.formats.torch",
        suffixes=(".pt", ".pth", ".ckpt", ".bin", ".pdparams"),
        globs=("*.pt", "*.pth", "*.pth.tar", "*.ckpt", "pytorch_model*.bin", "adapter_model.bin", "*.pkl", "*.pickle",
               "*.pdparams")),
    Row("joblib", "joblib", "diffai.formats.joblib_dumps", suffixes=(".joblib",), globs=("*.joblib",),
        magics=((0, b"\x80"),)),
    Row("compressed", "any of them in gzip, bzip2, xz, zlib, zstd, lz4", "diffai.formats.compressed",
        magics=((0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ\0"), (0, b"\x5d\0\0"), (0, b"\x28\xb5\x2f\xfd"),
                (0, b"\x04\x22\x4d\x18"), (0, b"ZF0x"), (0, b"\x78")), globs=("*.pkl.gz", "*.joblib.gz"),
        extra="compressed"),
    Row("skops", "skops", "diffai.formats.skops", magics=((0, b"PK\x03\x04"),), suffixes=(".skops",),
        globs=("*.skops",)),
    Row("numpy", "NumPy", "diffai.formats.npz", suffixes=(".npy", ".npz"), globs=("*.npy", "*.npz"), arrays=True,
        magics=((0, b"\x93NUMPY"), (0, b"PK\x03\x04"), (0, b"PK\x05\x06"))),
)  # fmt: skip


#: Formats that are models and are not read, by suffix and by what they are called: reported, never passed over.
NOT_READ: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".ggml",), "GGML"),
    ((".pte", ".ptd"), "ExecuTorch"),
    ((".engine", ".trt"), "TensorRT"),
    ((".ocdbt",), "Orbax (OCDBT)"),
    ((".caffemodel",), "Caffe"),
    ((".pdiparams",), "Paddle (for inference)"),
    ((".mnn",), "MNN"),
    ((".rknn",), "RKNN"),
    ((".dlc",), "Qualcomm DLC"),
    ((".hef",), "Hailo"),
)


def model_globs() -> tuple[str, ...]:
    """The globs of all rows and of what is not read, each once: models by name, and what ``install`` registers."""
    read = [glob for row in FORMATS if not row.arrays for glob in row.globs]
    return tuple(dict.fromkeys([*read, *(f"*{suffix}" for suffixes, _ in NOT_READ for suffix in suffixes)]))


def named_like_a_model(path: str) -> bool:
    """Whether a file's name alone says that it is a model, whatever its folder and the case of its letters."""
    name = path.rpartition("/")[2].lower()
    return any(fnmatchcase(name, glob) for glob in model_globs())


def may_be_named_so(path: str) -> bool:
    """Whether a name would suit a model: for files whose content, which would decide, is not here."""
    suffixes = tuple(suffix for row in FORMATS if not row.arrays for suffix in row.suffixes)
    return named_like_a_model(path) or path.lower().endswith(suffixes)


def not_read_by_name(path: str) -> str:
    """The format, not read, that a name's suffix promises; "" when none."""
    lower = path.lower()
    return next((title for suffixes, title in NOT_READ if lower.endswith(suffixes)), "")
