"""Which globals a pickle may name: harmless, unknown (inert custom code), or dangerous.

The list of dangerous names follows what picklescan and fickling look for, and known ways round them
(attribute chains such as ``torch.serialization`` + ``os.system``).
"""

from __future__ import annotations

from typing import Literal

DANGEROUS_MODULES = frozenset(
    ("os", "posix", "nt", "ntpath", "posixpath", "subprocess", "sys", "socket", "shutil", "importlib", "imp", "runpy",
     "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "ctypes", "_ctypes", "cffi",
     "pty", "tty", "webbrowser", "code", "codeop", "codecs", "bdb", "pdb", "timeit", "cProfile", "profile", "trace",
     "doctest", "asyncio", "multiprocessing", "concurrent", "threading", "_thread", "signal", "urllib", "urllib2",
     "urllib3", "requests", "httpx", "aiohttp", "http", "httplib", "ftplib", "smtplib", "telnetlib", "poplib",
     "imaplib", "nntplib", "socketserver", "ssl", "xmlrpc", "pip", "setuptools", "distutils", "_distutils_hack",
     "pkg_resources", "pkgutil", "zipimport", "ensurepip", "venv", "idlelib", "pydoc", "lib2to3", "test", "unittest",
     "commands", "popen2", "platform", "inspect", "linecache", "types", "gc", "site", "sitecustomize", "tempfile",
     "fileinput", "mmap", "fcntl", "winreg", "_winreg", "_osx_support", "_pyrepl",
     "execnet", "paramiko", "fabric", "sh", "IPython")
)  # fmt: skip

_OPERATOR = ("attrgetter", "methodcaller", "itemgetter")
DANGEROUS_NAMES = frozenset(
    (
        "functools.partial", "functools.partialmethod", "functools.reduce", "itertools.starmap",
        *(f"{module}.{name}" for module in ("operator", "_operator") for name in _OPERATOR),
        "_io.FileIO", "_io.open", "_io.open_code", "io.open", "io.FileIO", "io.open_code",
        "torch.load", "torch.hub.load", "torch.serialization.load", "torch.jit.load", "torch.ops.load_library",
        "torch.classes.load_library", "torch.storage._load_from_bytes_unsafe", "torch.save",
        "torch.fx.graph_module.reduce_graph_module", "torch.fx.graph_module.reduce_package_graph_module",
        "torch.fx.graph_module.reduce_deploy_graph_module", "torch.fx.graph_module._forward_from_src",
        "torch.jit.unsupported_tensor_ops.execWrapper", "torch._dynamo.guards.GuardBuilder.get",
        "torch.distributed.rpc.rpc_sync", "torch.multiprocessing.spawn",
        "numpy.load", "numpy.save", "numpy.loadtxt", "numpy.fromfile", "numpy.memmap", "numpy.genfromtxt",
        "numpy.testing._private.utils.runstring", "pandas.read_pickle", "pandas.eval",
        "sqlite3.connect", "sqlite3.dbapi2.connect", "typing._eval_type", "typing.get_type_hints",
        "dataclasses._create_fn", "logging.config.listen", "copyreg.add_extension", "atexit.register",
    )
)  # fmt: skip
_DANGEROUS_PREFIXES = (
    "torch.hub.", "torch.package.", "torch.utils.cpp_extension.", "torch.utils.bottleneck.", "torch.utils.collect_env.",
    "torch.utils.data.datapipes.", "torch._inductor.", "torch._dynamo.", "torch.testing.", "torch.fx.experimental.",
    "torch.multiprocessing.", "torch.distributed.rpc.", "torch.distributed.run", "torch.distributed.launch",
    "torch.ops.", "numpy.f2py.", "numpy.distutils.", "numpy.testing.", "numpy.ctypeslib.",
)  # fmt: skip
_DANGEROUS_ATTRIBUTES = frozenset(
    ("system", "popen", "eval", "exec", "compile", "execfile", "__import__", "__globals__", "__builtins__",
     "__subclasses__", "__getattribute__", "__reduce__", "__reduce_ex__", "__code__", "import_module", "getattr",
     "setattr", "load_module", "exec_module", "run_path", "runcode", "check_output")
)  # fmt: skip
_SAFE_BUILTINS = frozenset(
    ("set", "frozenset", "dict", "list", "tuple", "slice", "complex", "bytearray", "bytes", "range", "xrange", "str",
     "unicode", "int", "long", "float", "bool", "object", "type", "print", "Ellipsis", "NotImplemented", "None",
     "len", "abs", "min", "max", "sum", "round", "sorted")
)  # fmt: skip
_SAFE_PREFIXES = (
    "torch.nn.modules.", "torch.nn.parameter.", "torch.nn.quantized.", "torch.nn.intrinsic.", "torch.nn.qat.",
    "torch.ao.nn.", "torch.optim.", "torch.nn.functional.", "__torch__.", "torch.jit._pickle.",
    "torchvision.models.", "numpy.random.", "datetime.", "pathlib.", "collections.", "torch.nn.utils.",
)  # fmt: skip
_SAFE_NAMES = frozenset(
    ("joblib.numpy_pickle.NumpyArrayWrapper",
     "argparse.Namespace", "decimal.Decimal", "fractions.Fraction", "uuid.UUID", "copyreg._reconstructor",
     "copyreg.__newobj__", "copyreg.__newobj_ex__", "torch.Generator", "torch.torch_version.TorchVersion",
     "types.SimpleNamespace", "numpy.ma.core._mareconstruct", "numpy.ma.core.MaskedArray", "enum.Enum",
     "torch.Tensor", "torch._tensor.Tensor", "torch.tensor.Tensor")
)  # fmt: skip

_MODULES_AS_ATTRIBUTES = frozenset(
    ("os", "posix", "nt", "sys", "_sys", "subprocess", "builtins", "importlib", "shutil", "socket", "ctypes", "pickle")
)

Verdict = Literal["safe", "unknown", "dangerous"]


def judge(module: str, name: str) -> Verdict:
    """What naming ``module.name`` in a pickle means for whoever would load it with plain pickle."""
    root = module.partition(".")[0]
    full = f"{module}.{name}"
    if full in _SAFE_NAMES:
        return "safe"
    if root in ("builtins", "__builtin__"):
        return "safe" if name in _SAFE_BUILTINS else "dangerous"
    attributes = name.split(".")
    if (
        root in DANGEROUS_MODULES
        or full in DANGEROUS_NAMES
        or full.startswith(_DANGEROUS_PREFIXES)
        or not _DANGEROUS_ATTRIBUTES.isdisjoint(attributes)
        or not _MODULES_AS_ATTRIBUTES.isdisjoint(attributes)
        or not DANGEROUS_MODULES.isdisjoint(attributes[:-1])
    ):
        return "dangerous"
    if len(attributes) == 1 and full.startswith(_SAFE_PREFIXES):
        return "safe"
    return "unknown"
