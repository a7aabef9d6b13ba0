"""Compares a virtual machine's disk with the image, decoded by other people's programs: 7z, gzip, xz, zstd, sfdisk.

Nothing of this project is used here: a mistake that reader and writer share must not pass.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from process import LabError, run

BLOCK = 1 << 22
# MBR and GPT types of what Apply Image writes: Apple HFS+ and Apple APFS.
APPLE_TYPES = {"AF": "Apple_HFS", "48465300-0000-11AA-AA11-00306543ECAC": "Apple_HFS", "7C3457EF-0000-11AA-AA11-00306543ECAC": "Apple_APFS"}
DECODERS = {b"\x1f\x8b": ["gzip", "-dc"], b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}


class Region:
    """`size` bytes of `path` from `start`."""

    def __init__(self, path: Path, start: int, size: int):
        self.path, self.start, self.size = path, start, size

    def blocks(self):
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left:
                block = file.read(min(BLOCK, left))
                if not block:
                    raise LabError(f"{self.path} ends {left} bytes before the end of its partition")
                left -= len(block)
                yield block


def main_volume(image: Path, folder: Path) -> Region:
    """The volume in `image` that belongs on the Mac: its largest Apple partition, or all of a bare volume."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = decode(image, folder)
    if isinstance(raw, Region):
        return raw
    partitions = [part for part in table(raw) if part["type"].upper() in APPLE_TYPES]
    volumes = [Region(raw, part["start"] * 512, part["size"] * 512) for part in partitions] or apple_map(raw)
    return max(volumes, key=lambda volume: volume.size, default=Region(raw, 0, raw.stat().st_size))


def decode(image: Path, folder: Path):
    """The whole disk as a raw file, or already the volume where 7z gives partitions one by one."""
    with image.open("rb") as file:
        head = file.read(8)
        file.seek(max(0, image.stat().st_size - 512))
        is_udif = file.read(4) == b"koly"
    if is_udif:
        return from_udif(image, folder)
    for magic, command in DECODERS.items():
        if head.startswith(magic):
            raw = folder / "decoded.raw"
            with raw.open("wb") as output:
                if subprocess.run([*command, str(image)], stdout=output, check=False).returncode:
                    raise LabError(f"{command[0]} cannot decode {image}")
            return raw
    return image


def from_udif(image: Path, folder: Path):
    listing = run("7z", "l", "-tDmg", "-slt", image)
    items = re.findall(r"^Path = (\d+\..*|\d+)\nSize = (\d+)(?:\n.*?)*?^Comment = (.*)$", listing, re.M)
    if not items:
        raise LabError(f"7z finds nothing in {image}")
    volumes = [item for item in items if re.search(r"\((Apple_HFSX?|Apple_APFS) :", item[2])]
    name, size, _ = max(volumes or items, key=lambda item: int(item[1]))
    # 7z checks the checksums of the image and fails when one is wrong.
    run("7z", "x", "-y", "-tDmg", f"-o{folder}", image, name, timeout=1800)
    file = folder / name
    if volumes:
        return Region(file, 0, int(size))
    return file


def table(disk: Path) -> list:
    """Rows of the partition table of `disk`, in sectors of 512 bytes; none without a table."""
    result = subprocess.run(["sfdisk", "--json", str(disk)], capture_output=True, text=True, check=False)
    if result.returncode:
        return []
    return json.loads(result.stdout)["partitiontable"].get("partitions", [])


def apple_map(disk: Path) -> list:
    """Volumes of an Apple partition map, which sfdisk does not know; none where there is no such map."""
    # 7z warns about maps that it reads well: its exit code tells nothing here.
    listing = subprocess.run(["7z", "l", "-tAPM", "-slt", str(disk)], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^Path = .*\.(?:hfsx?|apfs)\nSize = (\d+)\nOffset = (\d+)$", listing, re.M)
    return [Region(disk, int(start), int(size)) for size, start in found]


def written_volume(disk: Path, name: str) -> Region:
    """The partition called `name` on the virtual machine's disk."""
    for part in table(disk):
        if part.get("name") == name:
            return Region(disk, part["start"] * 512, part["size"] * 512)
    raise LabError(f"{disk} has no partition called {name}: {table(disk) or 'no partition table'}")


def compare(expected: Region, found: Region) -> dict:
    """Compares byte by byte; the found partition may be larger."""
    if found.size < expected.size:
        raise LabError(f"the partition has {found.size} bytes, the image's volume {expected.size}")
    digest, at = hashlib.sha256(), 0
    for want, have in zip(expected.blocks(), Region(found.path, found.start, expected.size).blocks()):
        if want != have:
            inside = next(index for index, (a, b) in enumerate(zip(want, have)) if a != b)
            raise LabError(f"byte {at + inside} of the volume is {have[inside]:#04x}, in the image {want[inside]:#04x}")
        digest.update(want)
        at += len(want)
    return {"bytes": at, "sha256": digest.hexdigest()}


def clean(folder: Path):
    shutil.rmtree(folder, ignore_errors=True)
