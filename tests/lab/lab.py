#!/usr/bin/env python3
"""The whole main job without a Mac: an appliance, a site's network, a virtual machine that boots and is imaged.

Needs root (namespaces, tap). Everything is in namespaces of its own and goes with the lab, Ctrl-C included.
Exit code 0: the disk has the image, compared by other programs than ours. 1: it has not, with the reason.
"""

import argparse
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import judge  # noqa: E402
from appliance import Appliance  # noqa: E402
from machine import FIRMWARES, Machine  # noqa: E402
from network import Network  # noqa: E402
from process import LabError  # noqa: E402

VOLUME = "Macintosh HD"
SEQUENCE = """\
name: {name}
description: Erases the first disk and puts the image {image} on it.
steps:
  - name: Format disk
    format_disk:
      disk: 0
      partitions:
        - {{name: {volume}, format: hfs+ journaled, size: {room}, variable: SystemDisk}}
  - name: Apply image
    apply_image:
      image: {image}
      destination: {{variable: SystemDisk}}
{more}  - name: Restart
    restart:
"""
# Words of the runner's network page (`runner::network::Steps`) to the boot environment's own `ip` and kernel. It loads
# no module: the kernel has to find 802.1Q by itself, as it has to for the page.
VLAN = """\
  - name: Make a VLAN interface and remove it
    retry: {count: 1}
    execute_script:
      script: |
        #!/bin/sh -eu
        mkdir /run/wired-vlan5
        ip link add link eth0 name vlan5 type vlan id 5
        ip link set vlan5 up
        ip address add 10.5.0.9/24 broadcast + dev vlan5
        grep 'VID: 5' /proc/net/vlan/vlan5
        for try in 1 2 3 4 5; do [ "$(cat /sys/class/net/vlan5/carrier)" = 1 ] && break; sleep 1; done
        arping -D -f -c 3 -w 4 -I vlan5 10.5.0.1
        grep -qx 1 /sys/class/net/vlan5/carrier
        ip link delete vlan5
        rmdir /run/wired-vlan5
        [ ! -e /sys/class/net/vlan5 ]
"""
# The appliance as the DHCP server of a network that has no other.
OWN_DHCP = """\
[dhcp]
enabled = true
[[dhcp.subnet]]
interface = "eth0"
network = "{prefix}.0/24"
pools = ["{prefix}.210-{prefix}.219"]
"""
# What the runner says when it found the appliance by DNS-SD.
FOUND = re.compile(r"found .* at https://([0-9.]+)")
# What the serial line says when a stage begins; the last one may come before us when the machine is quick.
STAGES = (
    ("firmware", ">>Start "),
    ("ipxe", "iPXE initialising"),
    ("grub", "Rootstock: "),
    ("kernel", "Linux version"),
    ("boot environment", "rootstock: boot environment up"),
    ("runner", "rootstock: starting rootstock-runner"),
)
MIB = 1 << 20


def say(line: str):
    print(line, file=sys.stderr, flush=True)


class Lab:
    def __init__(self, folder: Path, programs: Path, cache: Path, open_to_host=False):
        self.folder, self.cache = folder, cache
        folder.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        # A socket's path is short (108 bytes), and the data folder is the appliance's alone.
        self.data = folder / "data"
        self.machine = None
        self.boot_files = None
        self.network = Network(folder, open_to_host)
        self.appliance = Appliance(programs, self.data, self.network, folder / "rootstockd.log")

    def start(self):
        say("starting the site's DHCP server and rootstockd")
        self.network.start_dhcp()
        self.appliance.start()
        say("making boot files")
        self.boot_files = self.appliance.make_boot_files(self.cache)
        for file in self.boot_files["files"]:
            say(f"  {file['path']}: {file['size'] / MIB:.1f} MiB")

    def lease_addresses(self):
        """Takes the site's DHCP server away: the appliance, started again, hands out addresses itself."""
        say("the site's DHCP server goes, the appliance takes its place")
        self.network.stop_dhcp()
        self.appliance.stop()
        # Without `force`: it starts only because nobody else answers a DISCOVER any more.
        self.appliance.start(OWN_DHCP.format(prefix=self.network.prefix))

    def prepare(self, image: Path, name: str, more: str = "", room: str = "100%") -> float:
        """Imports `image`, deploys a sequence that applies it to Unknown Macs in a partition of this size; gives the seconds of the
        import."""
        began = time.monotonic()
        say(f"importing {image.name}")
        self.appliance.ask("image", "import", image, "--name", name, timeout=3600)
        imported = time.monotonic() - began
        sequence = self.folder / f"{name}.yaml"
        sequence.write_text(SEQUENCE.format(name=f"Install {name}", image=name, volume=VOLUME, room=room, more=more))
        # An unknown Mac runs what is deployed first: only this one shall be.
        for deployment in self.appliance.ask("deployment", "list"):
            self.appliance.tell("deployment", "delete", deployment["id"])
        self.appliance.ask("sequence", "apply", sequence)
        self.appliance.ask("deploy", f"Install {name}", "--to", "Unknown Macs", "--purpose", "required")
        return imported

    def boot(self, firmware: str, disk_size: int, patience: float, pictures=None, number=1, named=True, cut_at=None,
             by="virtio") -> dict:
        """Boots a machine, waits until its run has ended, and gives what was measured. A stick that is not `named` looks
        for the appliance. At the step `cut_at` the machine's power goes, once. `by`: what its disk is connected by."""
        stick = self.folder / "stick.img"
        if firmware.startswith("usb"):
            say("making a stick")
            self.appliance.make_stick(stick, named)
        self.machine = Machine(self.folder, self.network, firmware, disk_size, number=number, stick=stick, disk=by)
        began, times, seen = time.monotonic(), {}, 0
        sent, boot_bytes = self.network.bytes_sent("box"), None
        known = {run["id"] for run in self.appliance.ask("run", "list")}
        run, shot = None, 0
        while run is None or run["outcome"] is None:
            elapsed = time.monotonic() - began
            text = self.machine.console_text()
            for stage, marker in STAGES:
                if stage not in times and marker in text:
                    times[stage] = round(elapsed, 1)
                    boot_bytes = self.network.bytes_sent("box") - sent
                    say(f"  {elapsed:6.1f} s  {stage}")
            if pictures and elapsed > shot * 10 and self.machine.running():
                self.machine.screenshot(pictures / f"{number}-{firmware}-{shot:03}.png")
                shot += 1
            run = self._run(known, run)
            if run and "run" not in times:
                times["run"] = round(elapsed, 1)
                say(f"  {elapsed:6.1f} s  run {run['id']} started")
            if run and run.get("progress") and not pictures and sys.stderr.isatty():
                self.appliance.show("run", "watch", run["id"], timeout=patience - elapsed)
            if cut_at and run and run["at"] == cut_at:
                say(f"  {elapsed:6.1f} s  the power goes at the step {cut_at}")
                self.machine.cut_power()
                cut_at = None
            seen = self._tell(run, seen)
            if elapsed > patience:
                raise LabError(f"no end after {patience:.0f} s; the machine's console ends: {self._last(text)}")
            if not self.machine.running() and (run is None or run["outcome"] is None):
                run = self._run(known, run)
                if run is None or run["outcome"] is None:
                    raise LabError(f"the machine went down before its run ended: {self._last(text)}")
            time.sleep(0.5)
        times["end"] = round(time.monotonic() - began, 1)
        say(f"  {times['end']:6.1f} s  run {run['id']} ended: {run['outcome']}. {run['message'] or ''}")
        self._let_it_go_down()
        if cut_at:
            raise LabError(f"the run was never seen at the step {cut_at}, so its power was not cut")
        if run["outcome"] != "succeeded":
            raise LabError(f"the run {run['outcome']}: {json.dumps(run.get('failure'))}")
        return {
            "firmware": firmware, "seconds": times, "run": run, "boot_bytes_sent": boot_bytes,
            "runner_peak_memory": self._runner_peak(),
        }

    def _run(self, known, run):
        if run is None:
            fresh = [run for run in self.appliance.ask("run", "list") if run["id"] not in known]
            if not fresh:
                return None
            run = fresh[0]
        return self.appliance.ask("run", "show", run["id"])

    @staticmethod
    def _tell(run, seen: int) -> int:
        """A line for every step that has ended since."""
        ended = [step for step in (run or {}).get("step_list", []) if step["ended_ms"]]
        for step in ended[seen:]:
            say(f"           {step['name']}: {step['state']}, {(step['ended_ms'] - step['started_ms']) / 1000:.1f} s")
        return len(ended)

    def _let_it_go_down(self):
        """The last step restarts the machine: QEMU ends then (-no-reboot), its disk flushed."""
        deadline = time.monotonic() + 60
        while self.machine.running() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.machine.stop()

    def _runner_peak(self):
        lines = [l for l in self.machine.console_text().splitlines() if "runner peak memory" in l]
        return int(lines[-1].split("memory", 1)[1].split()[0]) * 1024 if lines else None

    @staticmethod
    def _last(text: str) -> str:
        return " · ".join(line.strip() for line in text.splitlines()[-5:] if line.strip())

    def must_have_tagged(self):
        """What the machine sent by its VLAN interface had the tag."""
        if not self.machine.has_sent_in_vlan(5):
            raise LabError(f"no frame of VLAN 5 came from {self.machine.mac} ({self.machine.wire})")

    def must_have_found(self):
        """The runner looked for the appliance by DNS-SD, and took this one."""
        found = FOUND.findall(self.machine.console_text())
        if found != [self.network.box_address]:
            raise LabError(f"by DNS-SD the runner found {found or 'nothing'} instead of {self.network.box_address}")

    def must_know_how_the_disk_is(self):
        """The disk's own record (SMART) was read in the boot environment and stands in the inventory."""
        disk = self.appliance.ask("device", "show", self.machine.serial)["disks"][0]
        health = disk.get("health") or {}
        say(f"  {disk['node']}: {health}")
        # What it says of itself is QEMU's matter; that it was asked and understood is ours.
        if disk["serial"] != "LABDISK0001" or health.get("verdict") not in ("good", "worn", "failing"):
            raise LabError(f"the inventory does not say how the disk is: {disk}")

    def must_have_leased(self):
        """Firmware, boot loader and boot environment, each got its address from the appliance."""
        mac, pool = self.machine.mac, f"{self.network.prefix}.21"
        leases = [lease for lease in self.appliance.ask("lease", "list") if lease["mac"] == mac]
        held = {lease["address"] for lease in leases if lease["state"] == "bound"}
        events = self.appliance.ask("client", "show", mac)["events"]
        given = [event["detail"] for event in events if event["stage"] == "lease" and ": has " in event["detail"]]
        own = re.findall(r"eth0 has address ([0-9.]+)/24", self.machine.console_text())
        say(f"  leases: {', '.join(sorted(held))}; {'; '.join(given)}")
        if len(given) < 3 or not held or not held.issuperset(own[-1:]) or not all(a.startswith(pool) for a in held):
            raise LabError(f"leases {leases}, the machine has {own or 'no address'}; lease by lease: {given}")

    def compare(self, image: Path) -> dict:
        say("comparing the disk with an independent decode")
        folder = self.folder / "decoded"
        try:
            expected = judge.main_volume(image, folder)
            return judge.compare(expected, judge.written_volume(self.machine.disk, VOLUME))
        finally:
            judge.clean(folder)

    def close(self):
        if self.machine:
            self.machine.stop()
        self.appliance.stop()
        self.network.close()


def disk_for(image: Path, folder: Path) -> int:
    """Bytes of a disk that has room for the image's volume: the volume, an EFI partition and some air."""
    size = judge.main_volume(image, folder).size
    judge.clean(folder)
    return max(1024 * MIB, (size // MIB + 768) * MIB)


def summary(lab: Lab, image: Path, imported: float, booted: dict, compared: dict) -> dict:
    files = {file["path"]: file["size"] for file in lab.boot_files["files"]}
    return {
        "passed": True,
        "image": image.name,
        "image_bytes": image.stat().st_size,
        "import_seconds": round(imported, 1),
        "firmware": booted["firmware"],
        "seconds": booted["seconds"],
        "steps": [
            {"name": step["name"], "seconds": round((step["ended_ms"] - step["started_ms"]) / 1000, 1)}
            for step in booted["run"]["step_list"] if step["ended_ms"]
        ],
        "compared": compared,
        "boot_bytes_sent": booted["boot_bytes_sent"],
        "kernel_bytes": files["vmlinuz"],
        "initramfs_bytes": files["initramfs.cpio.zst"],
        "rootstockd_peak_memory": lab.appliance.peak,
        "runner_peak_memory": booted["runner_peak_memory"],
    }


def print_summary(result: dict):
    seconds = result["seconds"]
    say("")
    say(f"{result['image']}: {result['compared']['bytes']} bytes of the volume are equal, sha256 {result['compared']['sha256']}")
    say(f"  boot: {' · '.join(f'{stage} {at} s' for stage, at in seconds.items())}")
    say("  steps: " + " · ".join("{name} {seconds} s".format(**step) for step in result["steps"]))
    memory = [("rootstockd", result["rootstockd_peak_memory"]), ("runner", result["runner_peak_memory"])]
    told = " · ".join(f"{name} {peak / MIB:.0f} MiB" for name, peak in memory if peak)
    say(f"  peak memory: {told}; initramfs {result['initramfs_bytes'] / MIB:.1f} MiB")


def arguments():
    parser = argparse.ArgumentParser(prog="./dev run", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--image", type=Path, help="disk image to put on the machine's disk [default: a self-made volume]")
    parser.add_argument("--firmware-http", action="store_true", help="boot by UEFI HTTP boot instead of PXE")
    parser.add_argument("--firmware", choices=FIRMWARES, default="pxe", help="how the machine starts [pxe]")
    parser.add_argument("--once", action="store_true", help="end after the comparison instead of staying up")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="a picture of the screen every ten seconds")
    parser.add_argument("--patience", type=float, default=1800, metavar="S", help="give up after so long [1800 s]")
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--programs", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    # Signals end the lab the way Ctrl-C does, through `finally`; also when it runs in the background.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    if os.geteuid():
        say("error: the lab needs root for its network namespaces: sudo ./dev run")
        return 1
    image = asked.image.resolve()
    if asked.screenshots:
        asked.screenshots.mkdir(parents=True, exist_ok=True)
    lab = None
    try:
        if not image.is_file():
            raise LabError(f"{image} is no file")
        lab = Lab(asked.folder, asked.programs, asked.cache, open_to_host=not asked.once)
        lab.start()
        imported = lab.prepare(image, "lab-image")
        disk = disk_for(image, asked.folder / "decoded")
        booted = lab.boot("http" if asked.firmware_http else asked.firmware, disk, asked.patience, asked.screenshots)
        compared = lab.compare(image)
        result = summary(lab, image, imported, booted, compared)
        print_summary(result)
        if asked.json:
            print(json.dumps(result, indent=2))
        if not asked.once:
            stay_up(lab)
        return 0
    except LabError as error:
        say(f"error: {error}")
        if asked.json:
            print(json.dumps({"passed": False, "error": str(error)}, indent=2))
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    finally:
        if lab:
            lab.close()


def stay_up(lab: Lab):
    say("")
    say(f"The appliance stays up at https://{lab.network.box_address} until Ctrl-C. The admin's command line:")
    say(f"  {lab.appliance.programs / 'rootstock'} run list --socket {lab.appliance.socket}")
    say(f"  {lab.appliance.programs / 'rootstock'} client list --socket {lab.appliance.socket}")
    while lab.appliance.daemon.running():
        time.sleep(1)
    raise LabError(f"rootstockd ended: {lab.appliance.daemon.last_words()}")


if __name__ == "__main__":
    sys.exit(main())
