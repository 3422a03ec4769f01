"""Write `api.json`, the names, parameters and types of CuPy. This needs CuPy, but neither driver nor GPU.

    pip install "cupy-cuda13x>=14,<15" && python -m tests.cupy_stub.record

`functions` has the parameters of each function, with None for every default; `ufuncs` the types for which each has
loops (internally, `where` is one); those in `scattered` have an `at`; `others` are classes, constants and modules.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

FILE = Path(__file__).with_name("api.json")
MODULES = "cupy", "cupy.linalg", "cupy.lib.stride_tricks", "cupyx.scipy.special"


def parameters(function) -> str:
    """The parameters of a function as in its definition, without `self` and types, and with None for every default."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a compiled function: the first line of its help has its parameters
        text = re.match(r"[\w.]+\((.*)\)", function.__doc__)[1]
        names = (re.sub(r"^\w+ (?=\w)", "", part.strip()) for part in text.split(","))
        return ", ".join(re.sub(r"=.*", "=None", name) for name in names if name != "self")
    plain = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else None)
        for p in signature.parameters.values()
        if p.name != "self"
    ]
    return str(inspect.Signature(plain))[1:-1]


def record() -> dict:
    """The content of `api.json`."""
    import cupy
    from cupy._sorting.search import _where_ufunc

    functions, ufuncs, others = {}, {}, []
    for module in map(importlib.import_module, MODULES):
        for name in filter(lambda name: not name.startswith("_"), dir(module)):
            value, path = getattr(module, name), f"{module.__name__}.{name}"
            if isinstance(value, cupy.ufunc):
                ufuncs[path] = " ".join(value.types)
            elif callable(value) and not isinstance(value, type):
                functions[path] = parameters(value)
            else:
                others.append(path)
    ufuncs["cupy.where"] = " ".join(_where_ufunc.types)
    members = {name: getattr(cupy.ndarray, name) for name in dir(cupy.ndarray) if not name.startswith("_")}
    methods = {name: parameters(member) for name, member in members.items() if callable(member)}
    return {
        "version": cupy.__version__,
        "methods": methods,
        "attributes": [name for name in members if name not in methods],
        "operators": [name for name in dir(cupy.ndarray) if name.startswith("__")],
        "scattered": [name for name in dir(cupy) if getattr(getattr(cupy, name), "_scatter_op", None)],
        "ufuncs": ufuncs,
        "functions": functions,
        "others": others,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), indent=1) + "\n")
