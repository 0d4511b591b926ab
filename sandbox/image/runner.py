"""Runs inside the container: a supervisor that speaks to the host, and a worker that runs the code.

Who is who. The supervisor starts the worker first, then makes itself unreadable to it (PR_SET_DUMPABLE), and
only then reads the key with which it signs its reports. The worker's descriptors are pipes to the supervisor.
Code that finds the container's own stdout (/proc/1/fd) can spoil the stream, and then the host goes by
Docker's State; it cannot forge a report. Value, output files and prints are the code's claims all the same.

From the host, on descriptor 0, integers big-endian: `TGSB2\\n`, uint32 length, modules to load, one a line. Then,
at once or after `r` came back: a key of 32 bytes, and a request: uint8 keep, uint32 seconds to live, uint32 most
output files, uint64 most output bytes, uint32 number of inputs, for each uint16 length of its name, the name, uint64
size, the data; uint64 size of the program's stdin, the data; uint64 size of the code, the code. With `keep` the
worker lives on for more requests. The end of descriptor 0 says that the host is gone, and everything ends.

To the host, on descriptor 1: frames of kind (1 byte), uint32 length, payload. `r` ready; `o` `e` output;
`v` repr of the last expression's value; `A` name of an output file, `D` more of its content; `Z` the report:
lines of a word and a value, then a BLAKE2b MAC (RFC 7693, 32 bytes) over all since the key.
"""

import os  # every cold run waits for what is imported
import select
import signal
import struct
import sys

MAGIC, KEY_BYTES, MAC_BYTES = b"TGSB2\n", 32, 32
INPUTS, OUTPUTS, STDIN = "/tmp/in", "/tmp/out", "/tmp/.stdin"  # noqa: S108  (the container's own tmpfs)
CHUNK, VALUE_BYTES, NAME_BYTES, MOST_LEFT_OUT = 1 << 16, 16 << 10, 100, 20
NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4


def read_exactly(count: int, source: int = 0) -> bytes:
    """`count` bytes, unbuffered, so that the rest stays for whoever reads next."""
    parts = bytearray()
    while len(parts) < count:
        part = os.read(source, min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError("the message is incomplete")
        parts += part
    return bytes(parts)


def read_number(form: str, source: int = 0) -> int:
    return int(struct.unpack(form, read_exactly(struct.calcsize(form), source))[0])


def write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def work(requests: int, says: int, preload: list[str]) -> None:
    """The worker's life: load, say so, then one program after another until there is no more."""
    sys.argv = ["<code>"]
    sys.path[:] = [entry for entry in sys.path if not entry.startswith("/opt/")]
    os.environ["MPLBACKEND"] = "Agg"  # matplotlib reads it once, and there is no display
    for name in preload:
        __import__(name)
    os.environ.clear()
    run(b"0", {})  # what it needs is loaded then, and its pages are this process's own
    own = os.getpid()
    sys.modules["__main__"] = main = type(sys)("__main__")
    write_all(says, struct.pack(">cI", b"r", 0))
    while True:
        keep = read_number(">B", requests)
        code = read_exactly(read_number(">Q", requests), requests)
        os.dup2(typed := os.open(STDIN, os.O_RDONLY), 0)
        os.close(typed)
        os.unlink(STDIN)
        status, value = run(code, main.__dict__)
        if os.getpid() != own:  # a child that the code forked and that came back from it
            leave(status)
        save_figures(close=bool(keep))
        if value is not None:
            text = value[:VALUE_BYTES].encode("utf-8", "backslashreplace")[:VALUE_BYTES]
            write_all(says, struct.pack(">cI", b"v", len(text)) + text)
        if not keep:
            leave(status)
        flush()
        write_all(says, struct.pack(">cIB", b"d", 1, status))


def run(code: bytes, names: dict[str, object]) -> tuple[int, str | None]:
    """The exit status, and the repr of the last statement if it is an expression that is not None."""
    import _ast

    only_parse: int = _ast.PyCF_ONLY_AST
    try:
        tree = compile(code, "<code>", "exec", only_parse, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _ast.Expr) else None
        exec(compile(tree, "<code>", "exec", dont_inherit=True), names)  # noqa: S102
        if last is None:
            return 0, None
        found = eval(compile(_ast.Expression(last.value), "<code>", "eval", dont_inherit=True), names)  # noqa: S307
        return 0, None if found is None else repr(found)
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return (asked.code or 0) & 0xFF, None
        print(asked.code, file=sys.stderr)
        return 1, None
    except BaseException as error:  # the interpreter's own last resort, moved here
        explain(error, code)
        return 1, None


def explain(error: BaseException, code: bytes = b"") -> None:
    """A traceback that shows the program's own frames only."""
    import linecache
    import traceback

    source = code.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache["<code>"] = (len(code), None, source, "<code>")
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    try:
        traceback.print_exception(error)
    except BaseException as worse:  # an exception whose own text raises, or a closed stderr: it failed either way
        os.write(2, f"{type(error).__name__} ({type(worse).__name__} while it was shown)\n".encode())


def save_figures(close: bool) -> None:
    """Every open matplotlib figure as a PNG among the outputs."""
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is None:
        return
    try:
        for number in pyplot.get_fignums():
            pyplot.figure(number).savefig(f"{OUTPUTS}/figure-{number}.png", format="png")
        if close:
            pyplot.close("all")
    except BaseException as error:  # told like any other fault of the program
        explain(error)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed or replaced by the program: its own affair


def leave(status: int) -> None:
    """What the interpreter does at its end, but for tearing down every module."""
    import atexit

    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    except BaseException as error:  # told like any other fault of the program
        explain(error)
    flush()
    os._exit(status)


class Supervisor:
    """Reads requests, moves bytes, reports. It never looks at the code and never believes the worker."""

    def __init__(self) -> None:
        if read_exactly(len(MAGIC)) != MAGIC:
            sys.exit("no magic on stdin")
        preload = read_exactly(read_number(">I")).decode().split()
        os.mkdir(OUTPUTS, 0o700)
        requests, self.requests = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.said, says = os.pipe()
        self.worker = os.fork()
        if self.worker == 0:
            for own, fd in enumerate((stdout, stderr, requests, says), 1):
                os.dup2(fd, own if own < 3 else own + 20, inheritable=own < 3)
            os.closerange(3, 23)
            try:
                work(23, 24, preload)
            except BaseException as error:  # a module to load that is not there; the supervisor tells the host
                explain(error)
            os._exit(70)
        for fd in (requests, stdout, stderr, says):
            os.close(fd)
        hide()
        from _blake2 import blake2b  # hashlib would load OpenSSL

        self.blake2b, self.mac = blake2b, blake2b()  # the key comes later
        self.status: int | None = None  # of the worker, as waitpid gives it
        self.half_said = b""
        self.seen: dict[str, tuple[int, int, int]] = {}
        self.woken, wakes = os.pipe()
        for fd in (wakes, self.stdout, self.stderr):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.watched = select.poll()
        self.watched.register(0, 0)
        for fd in (self.woken, self.stdout, self.stderr, self.said):
            self.watched.register(fd, select.POLLIN)

    def send(self, kind: bytes, payload: bytes) -> None:
        data = struct.pack(">cI", kind, len(payload)) + payload
        self.mac.update(data)
        write_all(1, data)

    def serve(self) -> None:
        self.reap()  # it may have ended before its end could be noticed
        if self.pump(until=b"r") is None:
            os._exit(70)
        self.send(b"r", b"")
        self.mac = self.blake2b(key=read_exactly(KEY_BYTES), digest_size=MAC_BYTES)
        while True:
            keep, seconds, files, size = struct.unpack(">BIIQ", read_exactly(17))
            signal.alarm(seconds)  # it ends this process and so the container, whatever became of the host
            began = cpu_ns()
            self.store()
            head = struct.pack(">BQ", keep, length := read_number(">Q"))
            try:
                write_all(self.requests, head + read_exactly(length))
            except BrokenPipeError:
                self.reap()  # the worker is gone, and the report says how
            claimed = self.pump(until=b"d")
            self.report(claimed, self.collect(files, size), cpu_ns() - began)

    def store(self) -> None:
        """Each run's inputs are as the host sent them when its code begins, whatever earlier code did to them."""
        if os.path.islink(INPUTS) or not os.path.isdir(INPUTS):  # none yet, or earlier code moved it
            if os.path.lexists(INPUTS):
                os.unlink(INPUTS)
            os.mkdir(INPUTS)
        os.chmod(INPUTS, 0o700)
        for _ in range(read_number(">I")):
            self.store_one(f"{INPUTS}/{read_exactly(read_number('>H')).decode()}")
        self.store_one(STDIN)
        os.chmod(INPUTS, 0o500)

    def store_one(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rename(path, f"{path}.{os.urandom(8).hex()}")
        elif os.path.lexists(path):
            os.unlink(path)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        left = read_number(">Q")
        while left:
            write_all(target, part := read_exactly(min(left, CHUNK)))
            left -= len(part)
        os.close(target)

    def pump(self, until: bytes) -> bytes | None:
        """Move bytes until the worker says `until`: what came with it, or None where it had ended already."""
        while self.status is None:
            for fd, _ in self.watched.poll():
                if fd == 0:
                    raise EOFError  # only its end is watched: a next request waits
                if fd == self.woken:
                    os.read(fd, CHUNK)
                    self.reap()
                elif fd == self.said:
                    if (answer := self.tell(until)) is not None:
                        self.forward(self.stdout)
                        self.forward(self.stderr)
                        return answer
                else:
                    self.forward(fd)
        # The worker has ended, and nothing that it started may run on: then its pipes have an end, too.
        try:  # noqa: SIM105  (contextlib is slow to load)
            os.kill(-1, signal.SIGKILL)  # everything but this process and the first
        except ProcessLookupError:
            pass
        for fd in (self.stdout, self.stderr):
            os.set_blocking(fd, True)
            while self.forward(fd):
                continue
        self.tell(until)
        return None

    def forward(self, fd: int) -> bool:
        """One piece of output; False where there is none now, or none any more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.send(b"o" if fd == self.stdout else b"e", data)
        elif self.status is None:
            self.watched.unregister(fd)
        return bool(data)

    def tell(self, until: bytes) -> bytes | None:
        """Pass a value on that the worker said; what came with `until`, if it did. Nonsense is dropped."""
        data = os.read(self.said, CHUNK)
        if not data and self.status is None:
            self.watched.unregister(self.said)
        data = self.half_said + data
        while len(data) >= 5:
            kind, size = struct.unpack_from(">cI", data)
            if size > VALUE_BYTES or len(data) < 5 + size:
                break
            payload, data = data[5 : 5 + size], data[5 + size :]
            if kind == b"v":
                self.send(kind, payload)
            elif kind == until:
                return payload
        self.half_said = data[: VALUE_BYTES + 5]
        return None

    def reap(self) -> None:
        if self.status is None:  # it is the only child: orphans go to the first process
            pid, status = os.waitpid(self.worker, os.WNOHANG)
            self.status = status if pid else None

    def collect(self, files: int, size: int) -> list[str]:
        """Send the plain files of the output folder that are new; what is left out, and why."""
        left_out: list[str] = []
        try:
            folder = os.open(OUTPUTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return ["(all): the output folder is gone"]
        for name in sorted(os.listdir(folder)):
            try:
                sent = self.send_file(folder, name, files, size)
                files, size = files - (sent is not None), size - (sent or 0)
            except (OSError, ValueError) as error:
                left_out.append(f"{ascii(name)[1:-1][:NAME_BYTES]}: {error}")
        os.close(folder)
        return left_out[:MOST_LEFT_OUT]

    def send_file(self, folder: int, name: str, files: int, size: int) -> int | None:
        """Bytes sent, None where it was sent before. A link is not followed and a queue not waited for."""
        if len(name) > NAME_BYTES or name[0] in ".-" or not NAME_CHARACTERS.issuperset(name):
            raise ValueError("not a plain name")
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode & 0o170000 != 0o100000:
            raise ValueError("not a plain file")
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            facts = os.fstat(source)
            mark = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if self.seen.get(name) == mark:
                return None
            if files < 1 or facts.st_size > size:
                raise ValueError("too many files" if files < 1 else "too many bytes")
            self.send(b"A", name.encode())
            sent = 0
            while part := os.read(source, min(CHUNK, facts.st_size - sent)):
                self.send(b"D", part)
                sent += len(part)
            self.seen[name] = mark
            return sent
        finally:
            os.close(source)

    def report(self, claimed: bytes | None, left_out: list[str], spent_ns: int) -> None:
        """Sign off. A worker that has ended leaves nothing to do but to wait for the host and end alike."""
        ended, status = int(claimed is None), (claimed or b"\0")[0]
        if self.status is not None:
            code = os.waitstatus_to_exitcode(self.status)
            status = code if code >= 0 else 128 - code  # a signal, as a shell has it
        oom = number("memory.events", "memory/memory.oom_control", b"oom_kill ")
        peak = number("memory.peak", "memory/memory.max_usage_in_bytes", b"")
        lines = [f"ended {ended}", f"exit {status}", f"oom {oom}", f"peak_bytes {peak}", f"cpu_ns {spent_ns}"]
        body = "\n".join([*lines, *(f"left_out {line}" for line in left_out)]).encode("utf-8", "backslashreplace")
        signed = struct.pack(">cI", b"Z", len(body) + MAC_BYTES) + body
        self.mac.update(signed)
        write_all(1, signed + self.mac.copy().digest())
        if ended:
            while os.read(0, CHUNK):
                continue
            os._exit(status)


def hide() -> None:
    """From here on no other process of this user may read our memory or our descriptors."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not hide the supervisor")


def number(second: str, first: str, word: bytes) -> int | None:
    """The number behind `word` in a file of the control group, version 2 or 1; None where neither says."""
    for path in (second, first):
        try:
            with open(f"/sys/fs/cgroup/{path}", "rb") as file:
                for line in file:
                    if line.startswith(word):
                        return int(line[len(word) :])
        except (OSError, ValueError):
            continue
    return None


def cpu_ns() -> int:  # of the whole container so far; 0 where the kernel does not say
    micro = number("cpu.stat", "cpu.stat", b"usage_usec ")
    return micro * 1000 if micro is not None else number("-", "cpuacct/cpuacct.usage", b"") or 0


if __name__ == "__main__":
    os.environ.clear()
    try:
        Supervisor().serve()
    except EOFError:
        os._exit(137)  # the host is gone; with this process the container ends
