"""A virtual machine that takes itself for a Mac with an empty disk, and starts over the network or from a USB stick.

Always emulated (`-accel tcg`): slower than KVM, and the same on every host, also on those whose /dev/kvm opens
and then fails.
"""

import json
import shutil
import socket
import time
from pathlib import Path

from process import LabError, Process

OVMF = Path("/usr/share/OVMF")
# Code, variables, machine. Debian builds its 32-bit firmware with SMM only, which then has to be there.
X64 = (OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd", ["-machine", "q35"], "ovmf")
IA32 = (
    OVMF / "OVMF32_CODE_4M.secboot.fd", OVMF / "OVMF32_VARS_4M.fd",
    ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"], "ovmf-ia32",
)
# How the firmware starts, how many bits it has, what the machine is taken for: a model with that firmware.
FIRMWARES = {
    "pxe": ("pxe", X64, "MacBookPro11,1"),
    "http": ("http", X64, "MacBookPro11,1"),
    "usb": ("usb", X64, "MacBookPro11,1"),
    "pxe-ia32": ("pxe", IA32, "MacBook2,1"),
    "usb-ia32": ("usb", IA32, "MacBook2,1"),
}
# What its disk is connected by. NVMe and SATA ones keep a record of how they are, as those of Macs do.
DISKS = {
    "virtio": ["-device", "virtio-blk-pci,drive=d0,serial=LABDISK0001"],
    "nvme": ["-device", "nvme,drive=d0,serial=LABDISK0001"],
    "sata": ["-device", "ide-hd,drive=d0,bus=ide.0,serial=LABDISK0001"],
}
NO_PXE = [
    "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
    "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
]


class Machine:
    """The machine; `firmware` is one of FIRMWARES. One that starts from USB has `stick` plugged in."""

    def __init__(
        self, folder: Path, network, firmware: str, disk_size: int, number: int = 1, memory_mib: int = 1024, stick=None,
        disk: str = "virtio",
    ):
        start, (code, variables_of, machine, package), self.product = FIRMWARES[firmware]
        for need in (code, variables_of):
            if not need.exists():
                raise LabError(f"{need} is missing: install the package {package}")
        self.mac = f"52:54:00:77:00:{number:02x}"
        self.serial = f"C02LABMAC{number:03}"
        self.disk = folder / "disk.raw"
        self.console = folder / "serial.log"
        self.wire = folder / "wire.pcap"
        self.control = folder / "qmp.sock"
        self.console.write_bytes(b"")
        self.control.unlink(missing_ok=True)
        with self.disk.open("wb") as empty:
            empty.truncate(disk_size)
        variables = folder / "variables.fd"
        shutil.copyfile(variables_of, variables)
        words = [
            "qemu-system-x86_64", "-accel", "tcg", *machine, "-cpu", "max", "-m", str(memory_mib),
            "-nodefaults", "-no-reboot", "-display", "none", "-vga", "std",
            "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={variables}",
            "-smbios", f"type=1,manufacturer=Apple Inc.,product={quoted(self.product)},serial={self.serial},"
                       f"uuid=5a5e3a44-77d1-4c6d-8a2f-5254007700{number:02x}",
            # boot/init looks for it: the runner's peak memory goes to the serial line.
            "-smbios", "type=11,value=rootstock.memory",
            "-netdev", f"tap,id=n0,ifname={network.tap},script=no,downscript=no",
            # The heads of all its frames, as they are on the cable.
            "-object", f"filter-dump,id=w0,netdev=n0,maxlen=64,file={self.wire}",
            # romfile= takes QEMU's own iPXE out of the card: OVMF's driver starts, as a Mac's would.
            "-device", f"virtio-net-pci,netdev=n0,mac={self.mac},romfile={'' if start == 'usb' else ',bootindex=1'}",
            "-drive", f"if=none,id=d0,format=raw,discard=unmap,detect-zeroes=unmap,file={self.disk}",
            *DISKS[disk],
            "-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0",
            "-chardev", f"file,id=c0,path={self.console},append=on", "-serial", "chardev:c0",
            "-qmp", f"unix:{self.control},server=on,wait=off",
            "-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0",
        ]
        if start == "http":
            words += NO_PXE
        if start == "usb":
            words += [
                "-drive", f"if=none,id=u0,format=raw,file={stick}",
                "-device", "usb-storage,bus=xhci.0,drive=u0,removable=on,bootindex=1",
            ]
        self.words, self.log = network.command("wire", *words), folder / "qemu.log"
        self.process = Process(self.words, self.log)

    def cut_power(self):
        """Its power goes at this moment, and comes back: what its kernel had not written to the disk is lost."""
        self.process.kill()
        self.control.unlink(missing_ok=True)
        self.process = Process(self.words, self.log)

    def screenshot(self, to: Path):
        """A picture of the screen, for people; none before QEMU is up."""
        if self.control.exists():
            self._tell("screendump", filename=str(to), format="png")

    def press(self, *keys: str):
        """Keys of its keyboard by QEMU's names, pressed together."""
        self._tell("send-key", keys=[{"type": "qcode", "data": key} for key in keys], **{"hold-time": 40})
        # A key that is held while the next one comes would be two of them.
        time.sleep(0.1)

    def _tell(self, command: str, **arguments):
        """A command of QEMU's machine protocol."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            lines = connection.makefile("rw")
            lines.readline()
            for message in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(message) + "\n")
                lines.flush()
                answer = json.loads(lines.readline())
                while "event" in answer:
                    answer = json.loads(lines.readline())
                if "error" in answer:
                    raise LabError(f"QEMU does not {command}: {answer['error'].get('desc')}")

    def console_text(self) -> str:
        return self.console.read_text(errors="replace")

    def has_sent_in_vlan(self, number: int) -> bool:
        """Whether a frame of the machine carried this VLAN's tag (802.1Q: type 0x8100, priority 0, number)."""
        sender = bytes.fromhex(self.mac.replace(":", ""))
        return sender + b"\x81\x00" + number.to_bytes(2, "big") in self.wire.read_bytes()

    def running(self) -> bool:
        return self.process.running()

    def stop(self):
        self.process.stop()


def quoted(value: str) -> str:
    """QEMU splits options at commas; a doubled one stands for itself."""
    return value.replace(",", ",,")
