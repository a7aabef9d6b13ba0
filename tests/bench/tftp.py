"""TFTP at 1, 16, 64 and 256 clients: ours beside tftpd-hpa, dnsmasq and atftpd. Called by bench.py.

Owns: which server runs how, one load for all (`tftpload`, the same program and file for each), what a transfer costs in memory.
Every count of clients is measured A B A B ...; total MB/s is what all clients read until the slowest one has its file, and a ratio
is the median of the pairwise ratios of the rounds. Blocks have 1428 bytes. Rows with a window are ours alone: the peers know no
windowsize (RFC 7440), and are what such a row is divided by.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading

MIB = 1 << 20
# Clients, MiB each.
LOADS = [(1, 32), (16, 4), (64, 2), (256, 1)]
WINDOW = 16


def atftpd(cache):
    """Path of atftpd. Its package cannot be installed beside tftpd-hpa's, so that it is unpacked."""
    if found := shutil.which("atftpd"):
        return found
    folder = cache / "atftpd"
    program = folder / "usr/sbin/atftpd"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", "atftpd"], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        package = next(folder.glob("atftpd_*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return program


def family(pid):
    """A process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def memory(pid):
    """KiB that a server and its children have for themselves; shared pages are divided (PSS)."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total


class Peer:
    """One server under load."""

    def __init__(self, name, process, address, files):
        self.name, self.process, self.address, self.files = name, process, address, files

    def load(self, tool, clients, size, window=0):
        """One run of all clients: what tftpload prints."""
        name = f"{size}m"
        words = [tool, self.address, name, "--compare", self.files / name, "--clients", clients, "--blksize", 1428, "--window", window]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            sys.exit(f"error: {clients} clients of {self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def memory_for_each(self, tool, clients, size):
        """KiB a transfer: the most that the server grows to while all clients read."""
        before, peak, over = memory(self.process.pid), 0, threading.Event()

        def watch():
            nonlocal peak
            while not over.wait(0.02):
                peak = max(peak, memory(self.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.load(tool, clients, size)
        finally:
            over.set()
            watcher.join()
        return max(peak - before, 0) / clients


def servers(bench, folder, stack):
    """Ours first; each with the same files, on an address or port of its own."""
    appliance = bench.Appliance(folder)
    boot = appliance.data / "boot"
    boot.mkdir(parents=True, exist_ok=True)
    (boot / "probe").write_text("probe")
    for size in {size for _, size in LOADS}:
        (boot / f"{size}m").write_bytes(os.urandom(size * MIB))
    ports = {name: bench.free_port(socket.SOCK_DGRAM) for name in ("tftpd-hpa", "atftpd")}
    hpa = ["in.tftpd", "-L", "-s", "-u", "root", "-a", f"127.0.0.1:{ports['tftpd-hpa']}", boot]
    # dnsmasq serves TFTP on port 69 only; 127.0.0.2 keeps it away from a TFTP server that this machine may run.
    masq = ["dnsmasq", "-k", "--port=0", "--conf-file=/dev/null", "--log-facility=/dev/null", "--user=root", "--pid-file"]
    masq += ["--listen-address=127.0.0.2", "--bind-interfaces", "--enable-tftp", "--tftp-max=1000", f"--tftp-root={boot}"]
    advanced = [atftpd(bench.ROOT / "target/lab/cache"), "--daemon", "--no-fork", "--user", "root.root", "--bind-address", "127.0.0.1"]
    advanced += ["--port", ports["atftpd"], "--maxthread", "1000", "--verbose=0", "--logfile", "/dev/null", boot]
    ours = stack.enter_context(appliance.serve())
    peers = [Peer("rootstock", ours, f"127.0.0.1:{appliance.ports['tftp']}", boot)]
    for name, command, address in [
        ("tftpd-hpa", hpa, f"127.0.0.1:{ports['tftpd-hpa']}"),
        ("dnsmasq", masq, "127.0.0.2:69"),
        ("atftpd", advanced, f"127.0.0.1:{ports['atftpd']}"),
    ]:
        ready = bench.answers_tftp(*address.split(":"))
        process = stack.enter_context(bench.server(command, ready, folder / f"{name}.log"))
        peers.append(Peer(name, process, address, boot))
    return peers


def show(table, name, rates, slowest, ratios, goal):
    met = min(ratios.values()) >= goal
    table.rows.append({"name": name, "mb_per_s": rates, "slowest_s": slowest, "ratios": ratios, "goal": goal, "met": met})
    print(f"  {name:<24} MB/s: " + " · ".join(f"{who} {rate:.0f}" for who, rate in rates.items()))
    print(f"  {'':<24} slowest client, s: " + " · ".join(f"{who} {seconds:.2f}" for who, seconds in slowest.items()))
    against = " · ".join(f"÷ {who} {ratio:.2f}" for who, ratio in ratios.items())
    print(f"  {'':<24} ratio: {against}   goal {goal} {'met' if met else 'MISSED'}", flush=True)


def measure(bench, folder, rounds):
    """All rows. `bench` is the module bench.py."""
    tool = bench.BIN / "examples/tftpload"
    table = bench.Table("TFTP, blocks of 1428 bytes, all clients at once on loopback", 0)
    with contextlib.ExitStack() as stack:
        peers = servers(bench, folder, stack)
        ours = peers[0]
        for clients, size in LOADS:
            runs = {peer.name: [] for peer in peers} | {"window": []}
            for turn in range(rounds + 1):
                taken = {peer.name: peer.load(tool, clients, size) for peer in peers}
                taken["window"] = ours.load(tool, clients, size, WINDOW)
                if turn:
                    for who, run in taken.items():
                        runs[who].append(run)
            median = {who: statistics.median(run["mb_per_s"] for run in all_runs) for who, all_runs in runs.items()}
            slowest = {who: statistics.median(run["seconds"] for run in all_runs) for who, all_runs in runs.items()}

            def against(who):
                pairs = {peer.name: zip(runs[who], runs[peer.name]) for peer in peers[1:]}
                return {name: statistics.median(a["mb_per_s"] / b["mb_per_s"] for a, b in pair) for name, pair in pairs.items()}

            plain = [peer.name for peer in peers]
            named = f"{clients} client{'s' if clients > 1 else ''}, {size} MiB each"
            show(table, named, {who: median[who] for who in plain}, {who: slowest[who] for who in plain}, against("rootstock"), 1.0)
            show(table, f"  ours with window {WINDOW}", {"rootstock": median["window"]}, {"rootstock": slowest["window"]}, against("window"), 2.0)
        clients, size = LOADS[-1]
        each = {peer.name: peer.memory_for_each(tool, clients, size) for peer in peers}
        table.rows.append({"name": f"memory for each of {clients} transfers", "kib": each, "goal": 64, "met": each["rootstock"] <= 64})
        print(f"  memory for each of {clients}, KiB: " + " · ".join(f"{who} {kib:.0f}" for who, kib in each.items()), flush=True)
    return table
