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

import judge  # noqa: E402
from directory import BIND_PASSWORD, Directory  # noqa: E402
from lab import VLAN, VOLUME, Lab, disk_for, say  # noqa: E402
from machine import Machine  # noqa: E402
from power import with_power_cuts  # noqa: E402
from process import LabError  # noqa: E402
from share import Share  # noqa: E402
from technician import Technician  # noqa: E402

ROOT = HERE.parent.parent
SHARED = Path(os.environ.get("ROOTSTOCK_SHARED", ROOT / ".." / "shared"))
PATIENCE = 900
# At how many steps of a run of thirty the machine's power goes; 0: the boots below.
CUTS = int(os.environ.get("ROOTSTOCK_POWER_CUTS", "0"))
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
    # A person of a directory logs in, chooses, answers, resumes.
    technician: bool = False
    # The step at which the machine's power goes; it starts over the network again, and the run goes on.
    cut_at: str = ""
    # The volume is captured to an SMB share.
    captures: bool = False
    # What its disk is connected by; one with a record of how it is has that in the inventory.
    disk: str = "virtio"


BOOTS = (
    Boot("a_machine_boots_by_pxe_gets_an_apfs_volume_through_a_power_cut_captures_it_to_a_share_and_can_make_a_vlan", "pxe", vlan=True, cut_at="Apply image", captures=True),
    Boot("a_machine_boots_by_uefi_http_and_a_technician_logs_in_chooses_answers_and_resumes_what_failed", "http", HFS, technician=True),
    Boot("a_machine_with_an_nvme_disk_boots_from_a_usb_stick_finds_the_appliance_by_itself_and_is_imaged", "usb", finds=True, disk="nvme"),
    Boot("a_machine_with_32_bit_efi_and_a_sata_disk_boots_from_a_usb_stick_and_is_imaged", "usb-ia32", disk="sata"),
    Boot("a_machine_with_32_bit_efi_boots_by_pxe_with_addresses_of_the_appliance_and_is_imaged", "pxe-ia32", leases=True),
)


PASSWORD = "Imaging2026"
# Everything that a run can come to at a Mac: questions, a condition that holds and one that does not, two partitions, an image on
# the one that a variable names, a script that reads and sets variables, a step that fails the first time.
SEQUENCE = """\
name: With a technician
prompts:
  - {{variable: Owner, label: Whose Mac, pattern: '[a-z]+'}}
  - {{variable: Room, type: choice, choices: [Library, Lab]}}
steps:
  - name: Two partitions
    format_disk:
      disk: 0
      partitions:
        - {{name: {volume}, format: hfs+ journaled, size: {size} MiB, variable: SystemDisk}}
        - {{name: Data, format: hfs+ journaled, size: 100%, variable: DataDisk}}
  - name: In the library only
    if: {{all: [{{variable: Room, equals: Library}}]}}
    execute_script: {{script: "#!/bin/sh\\nexit 9"}}
  - name: In the lab only
    if: {{all: [{{variable: Room, equals: Lab}}]}}
    set_variables: [{{name: Kind, value: lab}}]
  - name: Apply image
    apply_image: {{image: {image}, destination: {{variable: SystemDisk}}}}
  - name: Startup disk
    set_startup_disk: {{volume: {{variable: SystemDisk}}, required: true}}
  - name: Reads and sets
    execute_script:
      script: |
        #!/bin/sh -eu
        [ "$("$PMM_TS_VARIABLE_UTIL" --get Owner)" = ana ]
        "$PMM_TS_VARIABLE_UTIL" --set Label="$Owner's Mac in $Room"
  - name: Fails once
    execute_script:
      script: |
        #!/bin/sh -eu
        [ "$Label" = "ana's Mac in Lab" ]
        [ "$Kind" = lab ]
        [ -e /run/tried ] || {{ touch /run/tried; exit 7; }}
  - name: Restart
    restart:
"""


def with_a_technician(lab: Lab, number: int, image: Path):
    """The directory is there only now: before and after, nobody has to log in."""
    name, decoded = f"image-{number}", lab.folder / "decoded"
    size = judge.main_volume(image, decoded).size
    judge.clean(decoded)
    directory = Directory(lab.folder, lab.network, PASSWORD)
    lab.appliance.stop()
    lab.appliance.start(directory.settings)
    try:
        secret = lab.folder / "bind-password"
        secret.write_text(BIND_PASSWORD)
        lab.appliance.tell("ldap", "password", "--password-file", secret)
        lab.appliance.ask("image", "import", image, "--name", name, timeout=3600)
        file = lab.folder / f"{name}.yaml"
        file.write_text(SEQUENCE.format(volume=VOLUME, size=(size >> 20) + 64, image=name))
        for deployment in lab.appliance.ask("deployment", "list"):
            lab.appliance.tell("deployment", "delete", deployment["id"])
        lab.appliance.ask("sequence", "apply", file)
        lab.appliance.ask("deploy", "With a technician", "--to", "All Macs", "--purpose", "available")
        lab.machine = Machine(lab.folder, lab.network, "http", disk_for(image, decoded) + (256 << 20), number=number)
        at_the_mac(lab, Technician(lab, PATIENCE))
        judge.written_volume(lab.machine.disk, "Data")
        lab.compare(image)
    finally:
        lab.machine.stop()
        directory.stop()
        lab.appliance.stop()
        lab.appliance.start()


def at_the_mac(lab: Lab, technician: Technician):
    technician.sees("log-in")
    technician.types(f"ben\n{PASSWORD}\n")
    technician.sees("choose", "With a technician")
    technician.types("\n")
    technician.sees("confirm", "ERASED")
    technician.types("y")
    technician.sees("prompt", "Whose Mac")
    # Capitals are not taken, and it is said why.
    technician.types("Ana\n")
    technician.presses("right")
    technician.types("\n")
    technician.sees("prompt", "NOT TAKEN  Whose Mac")
    for _ in range(4):
        technician.presses("up")
    for _ in "Ana":
        technician.presses("backspace")
    technician.types("ana\n\n")
    ended = technician.sees("ended", "FAILED: With a technician", "exit code 7")
    run = ended["run"]
    states = {step["name"]: step["state"] for step in lab.appliance.ask("run", "show", run)["step_list"]}
    expected = {"In the library only": "skipped", "In the lab only": "succeeded", "Reads and sets": "succeeded", "Fails once": "failed"}
    if not expected.items() <= states.items():
        raise LabError(f"the steps ended {states}, not {expected}")
    technician.types("1")
    deadline = time.monotonic() + 120
    while (shown := lab.appliance.ask("run", "show", run))["outcome"] != "succeeded" or lab.machine.running():
        if time.monotonic() > deadline:
            raise LabError(f"the run was resumed and is {shown['outcome']}: {shown['message']}; {lab.machine.console_text()[-400:]}")
        time.sleep(0.5)
    starts = [entry["who"] for entry in lab.appliance.ask("audit", "list", "--action", "run.")]
    if not any("ben" in who for who in starts):
        raise LabError(f"the audit log does not say that ben started it: {starts}")


def run(lab: Lab, number: int, boot: Boot, image: Path):
    if CUTS:
        return with_power_cuts(lab, number, image, CUTS, PATIENCE)
    if boot.technician:
        return with_a_technician(lab, number, image)
    if boot.leases:
        lab.lease_addresses()
    share = Share(lab.folder, lab.network) if boot.captures else None
    more, room = VLAN if boot.vlan else "", "100%"
    if share:
        # What is captured has to be read by an emulated processor; a smaller partition is not formatted.
        room = f"{max(160, (judge.main_volume(image, lab.folder / 'decoded').size >> 20) + 8)} MiB"
        judge.clean(lab.folder / "decoded")
        more += share.steps()
    lab.prepare(image, f"image-{number}", more, room)
    disk = disk_for(image, lab.folder / "decoded")
    lab.boot(boot.firmware, disk, PATIENCE, number=number, named=not boot.finds, cut_at=boot.cut_at, by=boot.disk)
    lab.compare(image)
    if share:
        volume, decoded = judge.written_volume(lab.machine.disk, VOLUME), lab.folder / "decoded"
        original = judge.main_volume(image, decoded).path
        share.must_have_captured(lab.machine.serial, volume, original, lab.appliance, lab.folder / "captured")
        judge.clean(decoded)
        share.stop()
    if boot.vlan:
        lab.must_have_tagged()
    if boot.finds:
        lab.must_have_found()
    if boot.disk != "virtio":
        lab.must_know_how_the_disk_is()
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
        if CUTS:
            # Long: only where it is asked for, and then alone.
            boots = [Boot(f"a_machine_whose_power_goes_at_{CUTS}_of_30_steps_is_imaged_as_if_nothing_had_happened", "pxe")]
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
