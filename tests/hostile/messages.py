"""The requests of attacks, built from the contract."""

import importlib
import os
import struct
import subprocess
from typing import Any, Self

NATIVE = "/token_sampler.v1.TokenSampler/"
KSERVE = "/inference.GRPCInferenceService/"
SAMPLE, SAMPLE_STREAM = NATIVE + "Sample", NATIVE + "SampleStream"
VERIFY_DRAFT, DESCRIBE = NATIVE + "VerifyDraft", NATIVE + "Describe"
REGISTER, UNREGISTER = NATIVE + "RegisterRegion", NATIVE + "UnregisterRegion"
HEALTH_CHECK, HEALTH_WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
MODEL_INFER = KSERVE + "ModelInfer"
FLOAT16 = 2
MOST_DRAWS = 2**24 - 1


def generate(proto: str, folder: str) -> None:
    """Writes the messages of the contract to the folder, which must be in PYTHONPATH."""
    names = ("sampling_params", "tensor", "token_sampler")
    files = [f"token_sampler/v1/{name}.proto" for name in names]
    subprocess.run(["protoc", f"--python_out={folder}", f"-I{proto}", *files], check=True)


def _messages(name: str) -> Any:
    return importlib.import_module(f"token_sampler.v1.{name}_pb2")


def tensor(rows: int, vocab: int, **source: Any) -> Any:
    """A float16 tensor, of zeros unless the caller says where its values are."""
    if not source:
        source = {"data": bytes(2 * rows * vocab)}
    return _messages("tensor").Tensor(dtype=FLOAT16, rows=rows, vocab=vocab, **source)


def uneven(vocab: int) -> Any:
    """One row, most of whose values differ from their neighbours."""
    part = struct.pack("<4096e", *((at * 2654435761 % 4096 - 2048) / 256 for at in range(4096)))
    return tensor(1, vocab, data=part * (vocab // 4096))


def in_region(name: str, rows: int, vocab: int) -> Any:
    return tensor(rows, vocab, region=message("RegionSlice", name=name))


def params(**fields: Any) -> Any:
    return _messages("sampling_params").SamplingParams(**fields)


def message(kind: str, /, **fields: Any) -> Any:
    """A message of token_sampler.proto or tensor.proto."""
    found = getattr(_messages("token_sampler"), kind, None) or getattr(_messages("tensor"), kind)
    return found(**fields)


def sample(values: Any, *profiles: Any, **fields: Any) -> bytes:
    request = message("SampleRequest", tensor=values, params=profiles, **fields)
    return serialized(request)


def serialized(made: Any) -> bytes:
    return bytes(made.SerializeToString())


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field in its wire format."""
    size = len(payload)
    length = b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


class SharedObject:
    """A shared-memory object that nobody has written: all of it is a hole that reads as zeros."""

    def __init__(self, size: int, tag: str = "0") -> None:
        self.key = f"token-sampler-hostile-{os.getpid()}-{tag}"
        self.path = f"/dev/shm/{self.key}"
        self.size = size
        with open(self.path, "wb") as file:
            file.truncate(size)

    def register(self, name: str, size: int = 0) -> bytes:
        bytes_of_it = size or self.size
        return serialized(
            message("RegisterRegionRequest", name=name, kind=1, key=self.key, byte_size=bytes_of_it)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.unlink(self.path)


# The health service's answer SERVING.
SERVING = struct.pack(">BI", 0, 2) + b"\x08\x01"
