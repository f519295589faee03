"""Runs a program as on a CUDA device, without one: shapes are real there, numbers are not.

Host tensors stay real, so that what the host decides is decided as ever; tensors on the device
are torch's FakeTensors. Every operation passes through FakeCuda, which notes those that would
make the host wait. torch learns of such a device while it is loaded, hence a process of its own:
load_device comes before the first import of torch.
"""

import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

COMPILER = shutil.which("g++") or shutil.which("c++")


def load_device() -> None:
    """Compile device.cpp and load it beneath the torch that is imported afterwards."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None and COMPILER is not None
    root = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "device.so"
        command = [COMPILER, "-std=c++20", "-shared", "-fPIC", f"-I{root}/include"]
        command += [str(Path(__file__).parent / "device.cpp"), "-o", str(library)]
        command += [f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-lc10", "-ltorch_cpu"]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def pretend() -> None:
    """Let torch's Python code believe in an H100."""
    import torch

    torch.cuda._lazy_init = lambda: None
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    torch.cuda.get_device_capability = lambda *_: (9, 0)
    torch.cuda.default_generators = (torch.Generator(),)


def make_mode() -> Any:
    """A FakeCuda; a function, because its base class exists only once torch is loaded."""
    import torch
    from torch._subclasses import FakeTensor, FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    aten = torch.ops.aten
    copies = (aten._to_copy.default, aten.copy_.default)
    no_kernels = (aten._unsafe_view.default, aten.new_empty.default, aten.empty_like.default)

    class FakeCuda(TorchDispatchMode):
        """What happened on the device, and what the host waited for.

        `syncs` names the waits in order; `ops` counts operations; `kernels` those of them that
        compute or copy, and `moved` the bytes that these read and write, both by name.
        """

        def __init__(self) -> None:
            super().__init__()
            self.syncs: list[str] = []
            self.ops: Counter[str] = Counter()
            self.kernels: Counter[str] = Counter()
            self.moved: Counter[str] = Counter()
            self._fake = FakeTensorMode(allow_non_fake_inputs=True)

        def __enter__(self) -> "FakeCuda":
            # So that torch.tensor(number, device="cuda") is seen to copy.
            torch._C._set_only_lift_cpu_tensors(True)
            return super().__enter__()

        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            torch._C._set_only_lift_cpu_tensors(False)

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            kwargs = kwargs or {}
            if func is torch.ops.prim.device.default:
                return func(*args)  # a question, no work
            tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
            on_device = [x for x in tensors if isinstance(x, FakeTensor)]
            target = kwargs.get("device")
            goes_to_device = target is not None and torch.device(target).type == "cuda"
            if not on_device and not goes_to_device:
                return func(*args, **kwargs)
            name = func._schema.name.removeprefix("aten::")
            self.ops[name] += 1
            if func is aten._local_scalar_dense.default:
                self.syncs.append("a number is read")
                return 0.0 if on_device[0].is_floating_point() else 0
            if target is not None and not goes_to_device:
                self.syncs.append("device to host")
                return torch.zeros(on_device[0].shape, dtype=kwargs.get("dtype", tensors[0].dtype))
            if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
                self.syncs.append("device to host")
                return args[0].zero_()
            if func in copies and len(on_device) < len(tensors):
                source = args[1] if func is aten.copy_.default else args[0]
                is_asynchronous = kwargs.get("non_blocking") or args[2:] == (True,)
                if not is_asynchronous or (source.numel() and not source.is_pinned()):
                    self.syncs.append("host to device, blocking")
            # Operations whose output's shape depends on numbers (nonzero, unique, a boolean index)
            # wait for the device, too: FakeTensorMode refuses those.
            with self._fake:
                result = func(*args, **kwargs)
            returns = func._schema.returns
            is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
            if not is_view and func not in no_kernels:
                made = [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
                self.kernels[name] += 1
                written = {id(kwargs.get(a.name)) for a in func._schema.arguments if a.is_out}
                # Once where two arguments are one tensor, and an output is no input.
                named = tree_flatten((args, [x for x in kwargs.values() if id(x) not in written]))
                read = {id(x): x for x in named[0] if isinstance(x, FakeTensor)}
                self.moved[name] += sum(x.nbytes for x in [*read.values(), *made])
            return result

    return FakeCuda()
