#!/usr/bin/env python3
"""The tier `vm`: machines boot by PXE, by UEFI HTTP boot, from USB sticks; each is imaged, and its disk compared.

One appliance for all. Every boot is a test; the last line is in the form of `cargo test`, so that `./dev test` counts.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from lab import VLAN, Lab, disk_for, say  # noqa: E402
from process import LabError  # noqa: E402

ROOT = HERE.parent.parent
SHARED = Path(os.environ.get("ROOTSTOCK_SHARED", ROOT / ".." / "shared"))
PATIENCE = 900
# Image of the corpus, self-made image for a clone without it.
APFS = ("go-apfs-v2-basic.dmg", "disk-ulfo.dmg")
HFS = ("go-apfs-v2-hfs-basic.dmg", "disk-udzo.dmg")


class Boot(NamedTuple):
    """A test, and what is proven besides the main job."""

    name: str
    firmware: str
    images: tuple = APFS
    # A step of the run makes a VLAN interface in the boot environment's kernel.
    vlan: bool = False
    # The stick does not name the appliance: it is looked for by DNS-SD.
    finds: bool = False
    # The appliance is the DHCP server, from here on.
    leases: bool = False


BOOTS = (
    Boot("a_machine_boots_by_pxe_gets_an_apfs_volume_and_can_make_a_vlan", "pxe", vlan=True),
    Boot("a_machine_boots_by_uefi_http_and_gets_an_hfs_volume", "http", HFS),
    Boot("a_machine_boots_from_a_usb_stick_finds_the_appliance_by_itself_and_is_imaged", "usb", finds=True),
    Boot("a_machine_with_32_bit_efi_boots_from_a_usb_stick_and_is_imaged", "usb-ia32"),
    Boot("a_machine_with_32_bit_efi_boots_by_pxe_with_addresses_of_the_appliance_and_is_imaged", "pxe-ia32", leases=True),
)


def run(lab: Lab, number: int, boot: Boot, image: Path):
    if boot.leases:
        lab.lease_addresses()
    lab.prepare(image, f"image-{number}", VLAN if boot.vlan else "")
    lab.boot(boot.firmware, disk_for(image, lab.folder / "decoded"), PATIENCE, number=number, named=not boot.finds)
    lab.compare(image)
    if boot.vlan:
        lab.must_have_tagged()
    if boot.finds:
        lab.must_have_found()
    if boot.leases:
        lab.must_have_leased()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--folder", "--programs", "--cache"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--only", help="boots of one firmware alone")
    asked = parser.parse_args()
    passed, failed, lab = 0, 0, None
    try:
        lab = Lab(asked.folder, asked.programs, asked.cache)
        lab.start()
        boots = [boot for boot in BOOTS if asked.only in (None, boot.firmware)]
        for number, boot in enumerate(boots, 1):
            shared, own = boot.images
            image = SHARED / "corpus" / shared
            image = image if image.exists() else ROOT / "tests" / "fixtures" / "images" / own
            began = time.monotonic()
            try:
                run(lab, number, boot, image.resolve())
                say(f"test {boot.name} ... ok ({time.monotonic() - began:.0f} s)")
                passed += 1
            except LabError as error:
                say(f"test {boot.name} ... FAILED\nerror: {error}")
                failed += 1
    except LabError as error:
        say(f"error: {error}")
        failed = len(BOOTS) - passed
    finally:
        if lab:
            lab.close()
    say(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
