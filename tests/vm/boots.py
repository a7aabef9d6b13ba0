#!/usr/bin/env python3
"""The tier `vm`: machines boot by PXE, by UEFI HTTP boot, from USB sticks; each is imaged, and its disk compared.

One appliance for both. Every boot is a test; the last line is in the form of `cargo test`, so that `./dev test` counts.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from lab import Lab, disk_for, say  # noqa: E402
from process import LabError  # noqa: E402

ROOT = HERE.parent.parent
SHARED = Path(os.environ.get("ROOTSTOCK_SHARED", ROOT / ".." / "shared"))
PATIENCE = 900
# Test name, firmware, image of the corpus, self-made image for a clone without it.
BOOTS = (
    ("a_machine_boots_by_pxe_and_gets_an_apfs_volume", "pxe", "go-apfs-v2-basic.dmg", "disk-ulfo.dmg"),
    ("a_machine_boots_by_uefi_http_and_gets_an_hfs_volume", "http", "go-apfs-v2-hfs-basic.dmg", "disk-udzo.dmg"),
    ("a_machine_boots_from_a_usb_stick_and_is_imaged", "usb", "go-apfs-v2-basic.dmg", "disk-ulfo.dmg"),
    ("a_machine_with_32_bit_efi_boots_from_a_usb_stick_and_is_imaged", "usb-ia32", "go-apfs-v2-basic.dmg", "disk-ulfo.dmg"),
    ("a_machine_with_32_bit_efi_boots_by_pxe_and_is_imaged", "pxe-ia32", "go-apfs-v2-basic.dmg", "disk-ulfo.dmg"),
)


def boot(lab: Lab, number: int, firmware: str, image: Path):
    lab.prepare(image, f"image-{number}")
    lab.boot(firmware, disk_for(image, lab.folder / "decoded"), PATIENCE, number=number)
    lab.compare(image)


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
        boots = [boot for boot in BOOTS if asked.only in (None, boot[1])]
        for number, (name, firmware, shared, own) in enumerate(boots, 1):
            image = SHARED / "corpus" / shared
            image = image if image.exists() else ROOT / "tests" / "fixtures" / "images" / own
            try:
                boot(lab, number, firmware, image.resolve())
                say(f"test {name} ... ok")
                passed += 1
            except LabError as error:
                say(f"test {name} ... FAILED\nerror: {error}")
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
