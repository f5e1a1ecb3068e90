"""Calls launch_api.cc through ctypes."""

import ctypes

DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}  # numbers of sampler/arithmetic/data_type.h


class GpuCase(ctypes.Structure):
    _fields_ = [
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("repetition", ctypes.c_double),
        ("frequency", ctypes.c_double),
        ("presence", ctypes.c_double),
        ("top_k", ctypes.c_uint32),
        ("dtype", ctypes.c_uint32),
    ]


class Failed(Exception):
    """A call failed, and has printed the reason on standard error."""


def load(path):
    library = ctypes.CDLL(str(path))
    for name, result in [
        ("Plan", ctypes.c_void_p),
        ("Launch", ctypes.c_bool),
        ("Agree", ctypes.c_bool),
        ("EndToEnd", ctypes.c_double),
        ("FromHost", ctypes.c_double),
    ]:
        getattr(library, f"TokenSamplerGpu{name}").restype = result
    return library


class Plan:
    """A launch for rows[count, vocab] at an address in device memory, each row with its seed.
    Bitmasks, if any, are at an address in host memory."""

    def __init__(self, library, case, rows, count, vocab, seed=0, bitmasks=None):
        self.library = library
        handle = library.TokenSamplerGpuPlan(
            ctypes.byref(case), ctypes.c_void_p(rows), ctypes.c_void_p(bitmasks),
            ctypes.c_int64(count), ctypes.c_int64(vocab), ctypes.c_uint64(seed),
        )  # fmt: skip
        if not handle:
            raise Failed("a plan failed")
        self.handle = ctypes.c_void_p(handle)

    def close(self):
        self.library.TokenSamplerGpuFree(self.handle)

    def launch(self, stream=None):
        """Launches on a CUDA stream, or on one of the library's own."""
        if not self.library.TokenSamplerGpuLaunch(self.handle, ctypes.c_void_p(stream)):
            raise Failed("a launch failed")

    def agrees(self):
        """Waits for the kernel. True if it and the whole sampler drew the same tokens."""
        return self.library.TokenSamplerGpuAgree(self.handle)

    def end_to_end(self, calls):
        """Median microseconds of whole calls of the sampler."""
        return self._timed(self.library.TokenSamplerGpuEndToEnd(self.handle, calls))

    def from_host(self, rows, on_cpu, calls):
        """The same with the rows at an address in host memory."""
        return self._timed(
            self.library.TokenSamplerGpuFromHost(self.handle, ctypes.c_void_p(rows), on_cpu, calls)
        )

    @staticmethod
    def _timed(microseconds):
        if microseconds < 0:
            raise Failed("a call of the sampler failed")
        return microseconds
