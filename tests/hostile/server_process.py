"""A server as its own process: started, watched and stopped."""

import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

import h2
import messages

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60
MIB = 1 << 20


def is_serving(address: str, seconds: float = 0.0) -> bool:
    """What health says over a new connection, of which some may be refused for so long: the peer of
    one that was closed for its frames cannot connect for a second."""
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


class Server:
    """Of `stderr`, "file" is kept, "unread" is a pipe that nobody reads, "closed" one whose reader
    goes after the start, and with "none" the descriptor is closed at the start. A watch kills a server above `most_mib`, so that the machine outlives the attack."""

    def __init__(
        self,
        binary: str,
        flags: list[str],
        descriptors: int = 0,
        stderr: str = "file",
        most_mib: int = 4096,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self.folder = pathlib.Path(self._folder.name)
        self.log = self.folder / "log"
        addresses = self.folder / "addresses"
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

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _status_number(self, name: str) -> int:
        """The number in a line of /proc/PID/status; 0 once the process has gone."""
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
        """User and system time of all threads, until the process went if it has gone."""
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
        """Ends it if need be, and deletes what it wrote."""
        if self.alive():
            self.process.kill()
        self.process.wait()
        if self._pipe is not None:
            os.close(self._pipe[0])
        self._folder.cleanup()
