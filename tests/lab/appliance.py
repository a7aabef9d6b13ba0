"""rootstockd in its namespace, driven through the admin's command line as a person would."""

import json
import subprocess
import sys
import time
from pathlib import Path

from process import LabError, Process, run

# The lab may run where less is free than an appliance must keep; its images are small. Nobody is there to be given time.
SETTINGS = "[library]\nkeep-free = '64 MB'\n[runner]\ncountdown = 5\n"


class Appliance:
    def __init__(self, programs: Path, data: Path, network, log: Path):
        self.programs, self.data, self.network, self.log = programs, data, network, log
        self.socket = data / "rootstock.sock"
        self.daemon = None
        self.peak = 0

    def start(self, settings: str = ""):
        """Starts the daemon with the lab's settings and these, and waits until it answers."""
        self.socket.unlink(missing_ok=True)
        file = self.data.with_name("rootstockd.toml")
        file.write_text(SETTINGS + settings)
        words = self.network.command("box", self.programs / "rootstockd", "--config", file, "--data", self.data)
        self.daemon = Process(words, self.log)
        deadline = time.monotonic() + 60
        while not self.socket.exists():
            self.daemon.must_run()
            if time.monotonic() > deadline:
                raise LabError(f"rootstockd makes no socket within a minute: {self.daemon.last_words()}")
            time.sleep(0.1)

    def make_boot_files(self, cache: Path) -> dict:
        """Makes the boot files of this appliance; without the network from what the cache has."""
        words = [
            self.programs / "rootstock", "media", "boot", "--json", "--data", self.data, "--cache", cache,
            "--server", self.network.box_address,
        ]
        if (cache / "fresh").exists() and time.time() - (cache / "fresh").stat().st_mtime < 24 * 3600:
            words.append("--offline")
        result = json.loads(run(*words, timeout=900))
        if "--offline" not in words:
            (cache / "fresh").touch()
        return result

    def make_stick(self, to: Path, names_appliance: bool = True) -> dict:
        """Makes the file of a stick that is told where this appliance is, or that has to look for it."""
        words = [self.programs / "rootstock", "media", "usb", "--json", "--data", self.data, "--to", to, "--yes"]
        if names_appliance:
            words += ["--server", self.network.box_address]
        return json.loads(run(*words, timeout=300))

    def words(self, *words) -> list:
        return [str(self.programs / "rootstock"), *map(str, words), "--socket", str(self.socket)]

    def ask(self, *words, timeout=120):
        """A command of the admin, its answer as JSON."""
        self.note_peak()
        text = run(*self.words(*words, "--json"), timeout=timeout)
        try:
            # Commands that take time print a line for each state: the last one is the result.
            return json.loads(text if text.lstrip().startswith(("[", "{\n")) else text.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise LabError(f"rootstock {' '.join(map(str, words))} --json printed no JSON: {text[:200]}") from error

    def lines(self, *words) -> list:
        """A command of the admin whose answer is a line of JSON for each thing."""
        return run(*self.words(*words, "--json")).strip().splitlines()

    def tell(self, *words):
        """A command of the admin that only does something."""
        run(*self.words(*words))

    def show(self, *words, timeout: float):
        """A command of the admin that a person watches: its progress bar is on this terminal."""
        try:
            subprocess.run(self.words(*words), stdout=sys.stderr, check=False, timeout=max(timeout, 1))
        except subprocess.TimeoutExpired:
            pass

    def note_peak(self):
        self.daemon.must_run()
        self.peak = max(self.peak, self.daemon.peak_memory() or 0)

    def stop(self):
        if self.daemon:
            self.peak = max(self.peak, self.daemon.peak_memory() or 0)
            self.daemon.stop()
