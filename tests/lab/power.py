"""Power cuts of a virtual machine at the steps of one run of thirty: its kernel and all that it had not written are gone, it starts
over the network again, and the run goes on at the step where it was (task-sequences section 8).
"""

import json
import random
import os
import time

import judge
from lab import VOLUME, LabError, disk_for, say
from machine import Machine

STEPS = 30
# A script that must not be run twice by itself: a person decides.
UNREPEATABLE = 17
TOOL = '"$PMM_TS_VARIABLE_UTIL"'


def script(step: int) -> dict:
    """Says in the run's log that it begins and ends; what it sets counts when it has ended."""
    text = f"#!/bin/sh -eu\necho begin {step}\nsleep 3\n{TOOL} --set Trace=\"$({TOOL} --get Trace) {step}\"\necho end {step}\n"
    # A cut at each of its tries would be too much; two are not.
    retry = {} if step == UNREPEATABLE else {"retry": {"count": 2}}
    return {"name": f"step {step}", **retry, "execute_script": {"script": text}}


def sequence(image: str) -> str:
    """Thirty steps, as JSON, which is YAML."""
    partitions = [
        {"name": VOLUME, "format": "hfs+ journaled", "size": "100%", "variable": "SystemDisk"},
    ]
    steps = [
        {"name": "step 1", "format_disk": {"disk": 0, "partitions": partitions}},
        {"name": "step 2", "set_variables": [{"name": "Trace", "value": "2"}]},
        {"name": "step 3", "apply_image": {"image": image, "destination": {"variable": "SystemDisk"}}},
        {"name": "step 4", "verify_image": None},
        {"name": "step 5", "set_startup_disk": None},
        *(script(step) for step in range(6, 26)),
        {"name": "step 26", "restart": None},
        script(27),
        {"name": "step 28", "verify_image": None},
        script(29),
        {"name": "step 30", "restart": None},
    ]
    return json.dumps({"name": "Thirty", "steps": steps})


def with_power_cuts(lab, number: int, image, cuts: int, patience: float):
    seed = int(os.environ.get("ROOTSTOCK_SEED", str(os.getpid())))
    # Set Variables is the appliance's own, at no time of the machine's.
    chosen = [step for step in range(1, STEPS + 1) if step != 2]
    dice = random.Random(seed)
    chosen = sorted(dice.sample(chosen, min(cuts, len(chosen))))
    say(f"seed {seed}: the power goes at the steps {chosen}")
    name = f"image-{number}"
    lab.appliance.ask("image", "import", image, "--name", name, timeout=3600)
    file = lab.folder / "thirty.yaml"
    file.write_text(sequence(name))
    for deployment in lab.appliance.ask("deployment", "list"):
        lab.appliance.tell("deployment", "delete", deployment["id"])
    lab.appliance.ask("sequence", "apply", file)
    lab.appliance.ask("deploy", "Thirty", "--to", "Unknown Macs", "--purpose", "required")
    known = {run["id"] for run in lab.appliance.ask("run", "list")}
    lab.machine = Machine(lab.folder, lab.network, "pxe", disk_for(image, lab.folder / "decoded"), number=number)
    try:
        run, resumed, hit = follow(lab, known, chosen, dice, patience)
        judged(lab, run, resumed, hit)
        lab.compare(image)
    finally:
        lab.machine.stop()


def follow(lab, known, chosen, dice, patience):
    """Cuts the power at each chosen step, while it is at work; gives the run's number and how often a person had to decide."""
    waiting, run, resumed, hit = list(chosen), None, 0, []
    deadline = time.monotonic() + patience
    while True:
        if time.monotonic() > deadline:
            raise LabError(f"nothing goes on for {patience:.0f} s before the steps {waiting}: {lab.machine.console_text()[-600:]}")
        # A restart ends QEMU (-no-reboot): the firmware starts again.
        if not lab.machine.running():
            lab.machine.cut_power()
        fresh = [one["id"] for one in lab.appliance.ask("run", "list") if one["id"] not in known]
        if not fresh:
            time.sleep(0.5)
            continue
        run = fresh[0]
        shown = lab.appliance.ask("run", "show", run)
        states = [step["state"] for step in shown["step_list"]]
        if waiting and states[waiting[0] - 1] != "pending":
            time.sleep(dice.uniform(0, 1.5))
            step = waiting.pop(0)
            at = lab.appliance.ask("run", "show", run)["step_list"][step - 1]["state"]
            hit += [step] if at == "running" else []
            say(f"  the power goes at step {step} ({at})")
            lab.machine.cut_power()
            deadline = time.monotonic() + patience
        elif shown["outcome"] == "failed" and "was started anew while the script" in shown["failure"]["cause"]:
            say(f"  a person decides: {shown['failure']['cause']}")
            lab.appliance.tell("run", "resume", run)
            resumed += 1
        elif shown["outcome"] is not None:
            say(f"  run {run} ended: {shown['outcome']}. {shown['message']}")
            return run, resumed, hit
        time.sleep(0.2)


def judged(lab, run: int, resumed: int, hit: list):
    """The run has succeeded, and every step was done once."""
    shown = lab.appliance.ask("run", "show", run)
    if shown["outcome"] != "succeeded" or any(step["state"] != "succeeded" for step in shown["step_list"]):
        raise LabError(f"the run {shown['outcome']}: {shown['message']} {shown['failure']}")
    events = lab.appliance.ask("run", "log", run)
    # `action 3 done, …`: a step has an action for each of its tries.
    done = [event["detail"].split(" done")[0] for event in events if event["kind"] == "done"]
    if len(done) != len(set(done)) or len(done) < STEPS - 2:
        raise LabError(f"an action was done twice, or is missing: {done}")
    said = "\n".join(event["detail"] for event in events if event["kind"] == "log").splitlines()
    ended = [int(line.split()[1]) for line in said if line.startswith("end ")]
    scripts = [step for step in range(6, STEPS) if step not in (26, 28)]
    twice = {step for step in scripts if said.count(f"begin {step}") > 1}
    if sorted(set(ended)) != scripts or not twice.issubset(hit):
        raise LabError(f"scripts began twice: {twice}, the power went at {hit}; ended: {ended}")
    say(f"  the power went at {len(hit)} steps at work; {len(twice)} scripts began again, {resumed} times a person decided")
    # What is left behind is known by another program than ours, too.
    judge.written_volume(lab.machine.disk, VOLUME)
