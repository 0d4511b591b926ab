"""Runs inside the container as PID 2: reads code and input files from stdin, runs the code as `__main__`.

The frame, all integers big-endian: `TGSB1\\n`, uint32 number of inputs, for each input uint16 length of
its name, the name, uint64 length of its data, the data; then uint64 length of the code and the code.
What follows on stdin belongs to the program. Nothing this file prints is believed by the host, which
reads the verdict from Docker. Standard library only; it imports nothing of this project.
"""

import os
import struct
import sys

MAGIC = b"TGSB1\n"
INPUT_DIRECTORY = "/tmp/in"  # noqa: S108  (the container's own tmpfs)


def read_exactly(count: int) -> bytes:
    """`count` bytes from descriptor 0, unbuffered, so that the rest stays for the program."""
    parts = bytearray()
    while len(parts) < count:
        part = os.read(0, min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError("the frame on stdin is incomplete")
        parts += part
    return bytes(parts)


def read_frame() -> tuple[dict[str, bytes], bytes]:
    """Input files by name, and the code."""
    if read_exactly(len(MAGIC)) != MAGIC:
        raise EOFError("the frame on stdin has no magic")
    inputs = {}
    for _ in range(struct.unpack(">I", read_exactly(4))[0]):
        name = read_exactly(struct.unpack(">H", read_exactly(2))[0]).decode()
        inputs[name] = read_exactly(struct.unpack(">Q", read_exactly(8))[0])
    return inputs, read_exactly(struct.unpack(">Q", read_exactly(8))[0])


def run(code: bytes) -> None:
    """Execute `code` in a fresh `__main__`; its traceback shows its own frames only."""
    import types

    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = ["<code>"]
    sys.path[:] = [entry for entry in sys.path if not entry.startswith("/opt/")]
    try:
        exec(compile(code, "<code>", "exec", dont_inherit=True), main.__dict__)  # noqa: S102
    except SystemExit:
        raise
    except BaseException as error:  # the interpreter's own last resort, moved here
        import linecache
        import traceback

        source = code.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache["<code>"] = (len(code), None, source, "<code>")
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        traceback.print_exception(error)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.clear()
    files, program = read_frame()
    os.mkdir(INPUT_DIRECTORY, 0o700)
    for file_name, content in files.items():
        with open(os.path.join(INPUT_DIRECTORY, file_name), "xb") as target:
            target.write(content)
    del files
    run(program)
