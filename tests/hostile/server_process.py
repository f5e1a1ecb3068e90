"""Starts, watches and stops a server as a process of its own."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import h2
import messages

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60
REPORTS = "sanitizer"  # what the names of sanitizers' reports begin with


def is_serving(address: str, seconds: float = 0.0) -> bool:
    """True if health says SERVING over a new connection within so many seconds. A peer whose
    connection was closed for its frames cannot connect for a second."""
    until = time.monotonic() + seconds
    while not says_serving(address):
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)
    return True


def says_serving(address: str) -> bool:
    try:
        connection = h2.Connection(address)
        answer = connection.call(messages.HEALTH_CHECK, b"", seconds=5)
        connection.close()
    except (h2.Closed, OSError):
        return False
    return answer.code == "OK" and answer.data == messages.SERVING


def sanitizer_options(logs: str) -> dict[str, str]:
    """Options of the sanitizers. They keep freed memory only briefly, because it is no measure of
    what a server holds. Reports are symbolized later: a server that ends meanwhile would leave half
    of one."""
    both = f"log_path={logs}:symbolize=0"
    return {
        "ASAN_OPTIONS": f"{both}:quarantine_size_mb=16:allocator_may_return_null=1"
        ":allocator_release_to_os_interval_ms=500",
        "UBSAN_OPTIONS": f"{both}:print_stacktrace=1",
    }


def symbolized(report: str) -> str:
    if (program := shutil.which("asan_symbolize")) is None:
        return report
    done = subprocess.run([program], input=report, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout


class Server:
    """`stderr` is "file", which is kept, "unread", a pipe that nobody reads, "closed", a pipe whose
    reader goes after the start, or "none", a descriptor that is closed at the start. A watch kills a
    server above `most_mib`, so that the machine outlives the attack. `sanitized` says that it is
    built with sanitizers, whose reports are kept."""

    def __init__(
        self,
        binary: str,
        flags: list[str],
        descriptors: int = 0,
        stderr: str = "file",
        most_mib: int = 4096,
        sanitized: bool = False,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self.folder = pathlib.Path(self._folder.name)
        self.log = self.folder / "log"
        addresses = self._address_file = self.folder / "addresses"
        self._pipe: tuple[int, int] | None = None
        command = [binary, "--device=cpu", "--listen=127.0.0.1:0", f"--address-file={addresses}"]
        command += flags
        if descriptors:
            command = ["prlimit", f"--nofile={descriptors}", *command]
        if stderr == "none":
            command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        if stderr in ("file", "none"):
            target = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        else:
            self._pipe = os.pipe()
            target = self._pipe[1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_SAMPLER_")}
        if sanitized:
            environment |= sanitizer_options(f"{self.folder}/{REPORTS}")
        self.process = subprocess.Popen(
            command, stderr=target, stdin=subprocess.DEVNULL, env=environment
        )
        os.close(target)
        self.most_mib = most_mib
        self.killed_at_mib = 0
        self.most_threads = 0
        self._last_peak = 0.0
        self._last_cpu = 0.0
        until = time.monotonic() + START_SECONDS
        while not addresses.exists() or not addresses.read_text().endswith("\n"):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start: {self.log_text()}")
            time.sleep(0.01)
        self.address = addresses.read_text().split()[0]
        if stderr == "closed" and self._pipe is not None:
            os.close(self._pipe[0])
            self._pipe = None
        self._watch = threading.Thread(target=self._kill_when_large, daemon=True)
        self._watch.start()

    def addresses(self) -> list[str]:
        """The addresses of all `--listen`, in their order; the first is `address`."""
        return self._address_file.read_text().split()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def sanitizer_reports(self) -> list[str]:
        """The gist of each report. The whole reports go to standard error."""
        gists = []
        for report in sorted(self.folder.glob(f"{REPORTS}.*")):
            text = report.read_text(errors="replace")
            print(symbolized(text), file=sys.stderr, flush=True)
            lines = [line for line in text.splitlines() if "SUMMARY" in line or "error:" in line]
            gists.append(lines[-1] if lines else text[:200])
        return gists

    def _status_number(self, name: str) -> int:
        """The number in a line of /proc/PID/status; 0 after the process has ended."""
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        found = [line.split()[1] for line in text.splitlines() if line.startswith(name + ":")]
        return int(found[0]) if found else 0

    def resident_mib(self) -> float:
        return self._status_number("VmRSS") / 1024

    def peak_mib(self) -> float:
        self._last_peak = max(self._last_peak, self._status_number("VmHWM") / 1024)
        return self._last_peak

    def _kill_when_large(self) -> None:
        while self.process.poll() is None:
            if self.resident_mib() > self.most_mib:
                self.killed_at_mib = self.most_mib
                self.process.kill()
            self.peak_mib()
            self.cpu_seconds()
            self.most_threads = max(self.most_threads, self._status_number("Threads"))
            time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """User and system time of all threads, up to the end of the process if it has ended."""
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return self._last_cpu
        fields = text.rsplit(")", 1)[1].split()
        self._last_cpu = max(self._last_cpu, (int(fields[11]) + int(fields[12])) / TICKS)
        return self._last_cpu

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, seconds: float) -> tuple[float, int]:
        """Sends SIGTERM, and SIGKILL after the time. Returns the time it took and the exit code."""
        begin = time.monotonic()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - begin, self.process.returncode

    def remove(self) -> None:
        """Ends the server if need be, and deletes the files that it wrote."""
        if self.alive():
            self.process.kill()
        self.process.wait()
        if self._pipe is not None:
            os.close(self._pipe[0])
        self._folder.cleanup()
