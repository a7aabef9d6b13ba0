"""Boot services against peers: `./dev bench boot`, the part of it that needs network namespaces and therefore root.

    dhcp    BSDP LIST answers a second and their latency at 1, 100 and 1000 Macs: ours, dnsmasq, a Python BSDP server
    vm      power-on to wizard in a virtual machine, by stage, and the bytes that moved

How dhcp is measured: every server has a namespace and a wire of its own to the one load generator (tests/bench/dhcpload.rs, which says
what it sends and what counts as an answer). `busy`: N Macs ask again as soon as they have their answer; answers a second, median of the pairwise
ratios of A B A B rounds. `paced`: N Macs ask once a second by the clock, as Macs that look for a server do; the 99th percentile of the latency,
worst round. With N in flight on a machine of few cores the busy latency is N ÷ answers a second, for any server: it is printed, the
goal of 5 ms is for the paced one. dnsmasq answers by the recipe that FOG's users have: one fixed option 43, no list of sets, no check of the model.

BSDPy (bruienne/bsdpy) wants Python 2 and its fork of pydhcplib: `--bsdpy FILE` or ROOTSTOCK_BSDPY names its bsdpserver.py, and where it or a
python2 is missing the row says so.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = ROOT / "target/x86_64-unknown-linux-gnu/release"
MACS = "10.93.0.0/16"
MIB = 1 << 20
SECONDS = 2.0
COUNTS = (1, 100, 1000)
GOAL_RATE, GOAL_P99_MS, GOAL_INITRAMFS = 2.0, 5.0, 80 * MIB

PLIST = """<?xml version="1.0"?><plist version="1.0"><dict>
<key>Name</key><string>Rootstock</string><key>Index</key><integer>1</integer><key>Kind</key><integer>1</integer>
<key>IsInstall</key><true/><key>IsDefault</key><true/><key>BootFile</key><string>booter</string>
<key>Type</key><string>BootFileOnly</string><key>Architectures</key><array><string>i386</string></array></dict></plist>"""
# LIST, priority 32768, default and only image 0x81000001 "Rootstock".
OPTION_43 = "01:01:01:04:02:80:00:07:04:81:00:00:01:09:0e:81:00:00:01:09:" + "Rootstock".encode().hex(":")


def run(*words, timeout=120):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False)
    if result.returncode:
        sys.exit(f"error: {' '.join(map(str, words))} ended with {result.returncode}: {(result.stderr or result.stdout).strip()[-800:]}")
    return result.stdout


class Wires:
    """One namespace of load, and one for each server, each on a wire of its own. Nothing is routed to anywhere else."""

    def __init__(self):
        self.load = f"rootstock-bench-load-{os.getpid()}"
        self.spaces = []
        self._make(self.load)
        self.inside(self.load, "ip", "route", "add", "local", MACS, "dev", "lo")

    def _make(self, space):
        run("ip", "netns", "add", space)
        self.spaces.append(space)
        self.inside(space, "ip", "link", "set", "lo", "up")

    def inside(self, space, *words):
        return run("ip", "netns", "exec", space, *words)

    def plug(self, name):
        """A new server's namespace: gives it, and the server's address."""
        space, number = f"rootstock-bench-{name}-{os.getpid()}", len(self.spaces)
        self._make(space)
        self.inside(self.load, "ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
        for place, link, address in ((self.load, f"to{number}", 2), (space, "eth0", 1)):
            self.inside(place, "ip", "address", "add", f"10.92.{number}.{address}/24", "brd", "+", "dev", link)
            self.inside(place, "ip", "link", "set", link, "up")
        self.inside(space, "ip", "route", "add", MACS, "via", f"10.92.{number}.2")
        return space, f"10.92.{number}.1"

    def ask(self, server, clients, seconds, rate=0.0):
        """One run of the load generator."""
        words = [BIN / "examples/dhcpload", server, "--clients", clients, "--seconds", seconds, "--rate", rate]
        return json.loads(self.inside(self.load, *words))

    def close(self):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def daemon(space, words, log):
    """A server in its namespace for the time of a `with`."""
    with open(log, "wb") as output:
        words = ["ip", "netns", "exec", space, *map(str, words)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(wires, server, process, log):
    """Waits until a LIST is answered; gives the reason when it is not."""
    for _ in range(20):
        if process.poll() is not None:
            break
        if wires.ask(server, 1, 0.1)["answers"]:
            return None
        time.sleep(0.2)
    return f"it answers no LIST: {pathlib.Path(log).read_text(errors='replace').strip()[-300:] or 'and says nothing'}"


def ours(folder, address):
    data = folder / "dhcp-data"
    (data / "boot/rootstock.nbi/i386").mkdir(parents=True)
    (data / "boot/rootstock.nbi/NBImageInfo.plist").write_text(PLIST)
    (data / "boot/rootstock.nbi/i386/booter").write_bytes(b"\0" * 4096)
    config = folder / "dhcp.toml"
    config.write_text(f'[network]\naddress = "{address}"\ninterfaces = ["eth0"]\n')
    return [BIN / "rootstockd", "--config", config, "--data", data]


def dnsmasq():
    words = ["dnsmasq", "--no-daemon", "--user=root", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces"]
    words += ["--leasefile-ro", "--dhcp-authoritative", "--dhcp-range=10.93.0.0,static,255.255.0.0", "--dhcp-vendorclass=set:mac,AAPLBSDPC"]
    return words + [f"--dhcp-option-force=tag:mac,43,{OPTION_43}", "--dhcp-option-force=tag:mac,60,AAPLBSDPC"]


def bsdpy(folder, path):
    """The command that starts BSDPy, or why there is none."""
    if not path:
        return "ROOTSTOCK_BSDPY names no bsdpserver.py"
    python = shutil.which("python2") or shutil.which("python2.7")
    if not python:
        return "there is no python2"
    return [python, path, "-p", folder / "dhcp-data/boot", "-i", "eth0"]


def bench_dhcp(folder, rounds, bsdpy_path):
    wires, rows = Wires(), []
    print("\nBSDP LIST in network namespaces")
    try:
        with contextlib.ExitStack() as stack:
            servers = {}
            for name in ("rootstock", "dnsmasq", "bsdpy"):
                space, address = wires.plug(name)
                words = {"rootstock": lambda: ours(folder, address), "dnsmasq": dnsmasq, "bsdpy": lambda: bsdpy(folder, bsdpy_path)}[name]()
                log = folder / f"{name}.log"
                missing = words if isinstance(words, str) else None
                if not missing:
                    missing = answers(wires, address, stack.enter_context(daemon(space, words, log)), log)
                if missing and name != "bsdpy":
                    sys.exit(f"error: {name}: {missing}")
                if missing:
                    print(f"  bsdpy: not measured, {missing}")
                else:
                    servers[name] = address
            for clients in COUNTS:
                rows.append(busy(wires, servers, clients, rounds))
                rows.append(paced(wires, servers, clients, rounds))
    finally:
        wires.close()
    return rows


def alternate(wires, servers, rounds, clients, rate=0.0):
    """A B A B: results of every server, in order, one warm-up each thrown away."""
    results = {name: [] for name in servers}
    for turn in range(rounds + 1):
        for name, address in servers.items():
            result = wires.ask(address, clients, SECONDS, rate)
            if turn:
                results[name].append(result)
    return results


def busy(wires, servers, clients, rounds):
    results = alternate(wires, servers, rounds, clients)
    rate = {name: statistics.median(one["per_second"] for one in all_) for name, all_ in results.items()}
    p99 = {name: statistics.median(one["p99_us"] for one in all_) / 1000 for name, all_ in results.items()}
    lost = {name: sum(one["lost"] for one in all_) for name, all_ in results.items()}
    ratios = {
        name: statistics.median(mine["per_second"] / max(theirs["per_second"], 0.1) for mine, theirs in zip(results["rootstock"], all_))
        for name, all_ in results.items() if name != "rootstock"
    }
    met = ratios["dnsmasq"] >= GOAL_RATE
    told = " · ".join(f"{name} {rate[name]:.0f}/s (p99 {p99[name]:.1f} ms, {lost[name]} lost)" for name in servers)
    against = " · ".join(f"÷ {name} {value:.2f}" for name, value in ratios.items())
    print(f"  {f'busy, {clients} in flight':<24} {told}\n  {'':<24} ratio: {against}   goal {GOAL_RATE} {'met' if met else 'MISSED'}", flush=True)
    return {"name": f"busy {clients}", "per_second": rate, "p99_ms": p99, "lost": lost, "ratios": ratios, "goal": GOAL_RATE, "met": met}


def paced(wires, servers, clients, rounds):
    results = alternate(wires, servers, rounds, clients, rate=float(max(clients, 10)))
    p99 = {name: max(one["p99_us"] for one in all_) / 1000 for name, all_ in results.items()}
    lost = {name: sum(one["lost"] + one["late"] for one in all_) for name, all_ in results.items()}
    met = p99["rootstock"] < GOAL_P99_MS and lost["rootstock"] == 0
    told = " · ".join(f"{name} p99 {p99[name]:.2f} ms ({lost[name]} lost)" for name in servers)
    print(f"  {f'paced, {max(clients, 10)} a second':<24} {told}   goal < {GOAL_P99_MS} ms {'met' if met else 'MISSED'}", flush=True)
    return {"name": f"paced {clients}", "p99_ms": p99, "lost": lost, "goal_ms": GOAL_P99_MS, "met": met}


def bench_vm(folder):
    """The lab's machine (tests/lab) with release programs: stages as its serial line tells them."""
    print("\npower-on to wizard in a virtual machine")
    image, cache = folder / "sample.img", ROOT / "target/lab/cache"
    run(BIN / "examples/mkvolume", 512 * MIB, image)
    words = ["/usr/bin/python3", ROOT / "tests/lab/lab.py", "--folder", folder / "lab", "--programs", BIN, "--cache", cache, "--image", image]
    result = json.loads(run(*words, "--once", "--json", "--patience", 900, timeout=1800))
    seconds = {stage: result["seconds"][stage] for stage in ("firmware", "ipxe", "kernel", "boot environment", "runner")}
    moved, initramfs = result.get("boot_bytes_sent"), result["initramfs_bytes"]
    print("  " + " · ".join(f"{stage} {at} s" for stage, at in seconds.items()))
    print(f"  moved {moved / MIB:.1f} MiB, of it initramfs {initramfs / MIB:.1f} MiB   goal {GOAL_INITRAMFS >> 20} MiB {'met' if initramfs <= GOAL_INITRAMFS else 'MISSED'}")
    return [{"name": "power-on to wizard", "seconds": seconds, "bytes_moved": moved, "initramfs_bytes": initramfs, "met": initramfs <= GOAL_INITRAMFS}]


def bench(folder, rounds, parts, bsdpy_path):
    """Those of `parts` that are here; rows for --json."""
    if os.geteuid():
        sys.exit("error: bench boot makes network namespaces: run it as root")
    rows = []
    if "dhcp" in parts:
        rows += [{"table": "BSDP LIST", **row} for row in bench_dhcp(folder, rounds, bsdpy_path)]
    if "vm" in parts:
        rows += [{"table": "virtual machine", **row} for row in bench_vm(folder)]
    return rows
