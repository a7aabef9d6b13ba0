"""An SMB share (Samba's smbd) in the appliance's namespace: captures are written to it.

One account, root of this machine, with a password of the share's own. Needs samba.
"""

import hashlib
import subprocess
from pathlib import Path

import judge
from process import LabError, Process

SMBD = Path("/usr/sbin/smbd")
ACCOUNT = "LAB\\root"
# A comma ends an option of a mount, a percent sign begins a variable of a sequence.
PASSWORD = "Share, 100% \"lab\""
CONFIG = """\
[global]
server role = standalone server
interfaces = {address}
bind interfaces only = yes
private dir = {home}/private
lock directory = {home}/lock
state directory = {home}/state
cache directory = {home}/cache
pid directory = {home}/pid
ncalrpc dir = {home}/ncalrpc
passdb backend = tdbsam:{home}/private/passdb.tdb
log file = {home}/log
load printers = no
disable spoolss = yes
map to guest = never
server min protocol = SMB2
[Images]
path = {home}/images
read only = no
"""

# Takes the volume that was applied before, as a file in a folder that is not there yet.
STEPS = """\
  - name: Who may write to the share
    set_variables:
      - {{name: OSDCaptureDestination, value: '{path}'}}
      - {{name: PmmOSDCaptureDestinationDir, value: '%SerialNumber%'}}
      - {{name: OSDCaptureAccount, value: '{account}'}}
      - {{name: PmmOSDCaptureAccountPassword, value: '{password}', secret: true}}
  - name: Capture to the share
    capture_image: {{image: copy, source: {{disk: 0, partition: 2}}, destination: share}}
  - name: Which partition was it
    execute_script:
      script: |
        #!/bin/sh -eu
        [ "$PmmOSDSourceDisk" = /dev/vda2 ]
        [ -z "$(grep cifs /proc/mounts)" ]
"""


def files_in(volume: Path) -> str:
    """A digest of everything that 7z unpacks; of a volume without a file system, of nothing."""
    unpacked = subprocess.run(["7z", "x", "-so", str(volume)], capture_output=True, check=False).stdout
    return hashlib.sha256(unpacked).hexdigest()


class Share:
    """`files` is what the folder `path` of the share has."""

    def __init__(self, folder: Path, network):
        if not SMBD.exists():
            raise LabError("smbd is missing: install the package samba")
        self.home = folder / "samba"
        self.files = self.home / "images" / "Lab Macs"
        for name in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        self.files.mkdir(parents=True, exist_ok=True)
        self.path = f"\\\\{network.box_address}\\Images\\Lab Macs"
        config = self.home / "smb.conf"
        config.write_text(CONFIG.format(home=self.home, address=network.box_address))
        subprocess.run(
            network.command("box", "pdbedit", "-s", config, "-a", "-t", "-u", "root"), input=f"{PASSWORD}\n{PASSWORD}\n", text=True,
            check=True, stdout=subprocess.DEVNULL,
        )
        self.process = Process(network.command("box", SMBD, "-F", "--no-process-group", "-s", config), folder / "smbd.log")

    def steps(self) -> str:
        return STEPS.format(path=self.path, account=ACCOUNT, password=PASSWORD.replace("%", "%%"))

    def must_have_captured(self, serial: str, volume: judge.Region, original: Path, appliance, scratch: Path):
        """The file is complete, 7z finds its checksums right and in it the files of the volume `original`, and the library takes it
        in."""
        folder = self.files / serial
        names = sorted(path.name for path in folder.iterdir())
        if names != ["copy.dmg"]:
            raise LabError(f"the share has {names} in {folder}, not copy.dmg alone")
        file = folder / "copy.dmg"
        captured, zeros, used = judge.from_udif(file, scratch), bytes(4096), 0
        if captured.size != volume.size:
            raise LabError(f"{file} has a volume of {captured.size} bytes, the disk one of {volume.size}")
        for have, want in zip(captured.blocks(), volume.blocks()):
            for at in range(0, len(want), 4096):
                block = have[at:at + 4096]
                used += block != zeros
                # Free blocks are zeros in the file, whatever they are on the disk.
                if block not in (want[at:at + 4096], zeros):
                    raise LabError(f"{file} differs from the disk")
        if used < 10:
            raise LabError(f"{file} has only {used} blocks that are no zeros")
        # Nothing that a file system needs was taken for free: 7z reads the same files.
        if files_in(captured.path) != files_in(original):
            raise LabError(f"7z finds other files in {file} than in the image that was applied")
        appliance.ask("image", "import", file, "--name", "copy", timeout=600)
        judge.clean(scratch)

    def stop(self):
        self.process.stop()
