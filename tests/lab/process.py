"""Child processes that end with the lab, whatever happens to it."""

import ctypes
import signal
import subprocess
from pathlib import Path

PR_SET_PDEATHSIG = 1


class LabError(Exception):
    """What went wrong, with the evidence: printed as one `error:` line."""


def run(*words, timeout=120) -> str:
    """Runs a command to its end and gives its standard output."""
    try:
        result = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: run ./dev test or ./dev run, which install it") from error
    if result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise LabError(f"{' '.join(map(str, words))} ended with {result.returncode}: {said}")
    return result.stdout


class Process:
    """A running child with its output in a file."""

    def __init__(self, words: list, log: Path):
        self.name = next((Path(word).name for word in words[4:]), words[0])
        self.log = log
        # Appended: the appliance is started again in one boot, and what it said before is still evidence.
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                # Ctrl-C is for the lab, which then stops its children in order.
                start_new_session=True, preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def running(self) -> bool:
        return self.child.poll() is None

    def must_run(self):
        if not self.running():
            raise LabError(f"{self.name} ended with {self.child.returncode}: {self.last_words()} ({self.log})")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " · ".join(lines[-3:]) or "no output"

    def peak_memory(self):
        """Most bytes of memory that it ever had, or None when it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return None
        kib = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(kib[0]) * 1024 if kib else None

    def kill(self):
        """Ends it without a word to it."""
        self.child.kill()
        self.child.wait()

    def stop(self, patience=10):
        if not self.running():
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
