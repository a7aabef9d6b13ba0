#!/usr/bin/env python3
"""Figures of running many Macs: `./dev bench runs [--parts plan,runners,storm,targets] [--runners 500] [--devices 1000,10000,100000]`.

Owns: which load is made, what is printed of it, which bound it is held against. Every part is a program of this repository that makes
its own load and prints one JSON object; nothing here knows how. A figure beyond its bound ends with exit code 1.

| part | load | bounds |
|---|---|---|
| plan | a plan of 100, 300 and 1,000 steps in nested sequences | 1,000 steps < 50 ms |
| runners | so many simulated Macs on one release rootstockd over TLS, from an address each; progress twice a second | `next` p99 < 50 ms, memory < 300 MiB, database < 200 KiB a run |
| storm | the same; the daemon is killed in the middle and started again | all runs go on within 10 s, nothing acknowledged is lost |
| targets | Macs with inventories, 200 collections with rules | membership after one inventory change < 10 ms, a page of a list < 100 ms |
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target/x86_64-unknown-linux-gnu/release"
EXAMPLES = RELEASE / "examples"
# Milliseconds that the issue gives.
CHANGE, PAGE = 10.0, 100.0
PLAN = 50.0
NEXT, STORM = 50.0, 10.0
MEMORY, DATABASE = 300 << 20, 200 << 10
PAGES = ["page", "page in the middle", "search, common", "search, one", "search, none", "search, never both", "with a tag",
         "tag and search", "members of a collection", "members, seen long ago", "unknown ones", "by name", "collections", "deployments",
         "one Mac", "what a Mac is offered"]
# Of all Macs; no bound.
WHOLE = ["preview of a rule", "a collection is made"]


def load(folder, devices, collections, rounds):
    """One measurement on an empty folder."""
    program = [EXAMPLES / "targetsload", devices, collections, rounds, folder]
    result = subprocess.run([str(word) for word in program], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: targetsload ended with {result.returncode}: {result.stderr[-800:]}")
    return json.loads(result.stdout.splitlines()[-1])


def targets(arguments):
    """The growth curve: the same figures for more and more Macs."""
    wrong = []
    curve = []
    for devices in arguments.devices:
        folder = tempfile.mkdtemp(prefix="rootstock-bench-", dir=arguments.folder)
        try:
            curve.append(load(folder, devices, arguments.collections, arguments.rounds))
        finally:
            shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(curve))
    print(f"{'Macs':>32}" + "".join(f"{one['devices']:>18,}" for one in curve))
    print(f"{'collections a Mac belongs to':>32}" + "".join(f"{one['memberships']:>18.1f}" for one in curve))
    print(f"{'database, bytes a Mac':>32}" + "".join(f"{one['bytes'] / one['devices']:>18,.0f}" for one in curve))
    print(f"{'ms, median / 99th percentile':>32}")
    rows = [("one inventory change", lambda one: one["change"], CHANGE)]
    rows += [(name, lambda one, name=name: one["ms"][name], PAGE) for name in PAGES]
    rows += [(f"{name} (all Macs)", lambda one, name=name: one["ms"][name], None) for name in WHOLE]
    rows += [("look before Macs boot (all Macs)", lambda one: one["look"], None)]
    for name, of, bound in rows:
        cells = []
        for one in curve:
            figure = of(one)
            cells.append(f"{figure['median']:.1f} / {figure['p99']:.1f}")
            if bound is not None and figure["median"] > bound:
                wrong.append(f"{name} with {one['devices']:,} Macs: {figure['median']:.1f} ms, bound {bound:.0f} ms")
        print(f"{name:>32}" + "".join(f"{cell:>18}" for cell in cells))
    mib = lambda count: f"{count / 2**20:.0f} MiB"
    for name, of in [
        ("lists taken in, s", lambda one: f"{one['listed']:.1f}"),
        ("first hellos, s", lambda one: f"{one['greeted']:.1f}"),
        ("one list over HTTP, lines", lambda one: f"{one['import']['lines']:,}"),
        ("s, memory", lambda one: f"{one['import']['seconds']:.1f}, {mib(one['import']['memory'])}"),
        ("export of all, length", lambda one: mib(one["export"]["bytes"])),
        ("s, memory", lambda one: f"{one['export']['seconds']:.1f}, {mib(one['export']['memory'])}"),
    ]:
        print(f"{name:>32}" + "".join(f"{of(one):>18}" for one in curve))
    return wrong


def plan(arguments):
    """The growth curve of a plan, and the one size that has a bound."""
    del arguments
    wrong = []
    print(f"{'steps':>32}{'median ms':>18}{'most ms':>18}")
    for steps in (100, 300, 1000):
        done = subprocess.run([str(EXAMPLES / "plan"), str(steps), "21"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: plan ended with {done.returncode}: {done.stderr[-800:]}")
        made = json.loads(done.stdout)
        print(f"{made['steps']:>32,}{made['median_ms']:>18.2f}{made['most_ms']:>18.2f}")
        if steps == 1000 and made["median_ms"] > PLAN:
            wrong.append(f"a plan of 1,000 steps: {made['median_ms']:.1f} ms, bound {PLAN:.0f} ms")
    return wrong


class Goals:
    """What is held against a bound, as it is printed; those that are missed."""

    def __init__(self):
        self.wrong = []

    def line(self, name, text, met=None, bound=""):
        word = "" if met is None else f"  {'met' if met else 'MISSED'}: {bound}"
        print(f"{name:>32}  {text}{word}")
        if met is False:
            self.wrong.append(f"{name}: {text}, bound {bound}")


def simulated(mode, arguments):
    """One load of simulated runners on an empty folder, as it tells of itself."""
    folder = tempfile.mkdtemp(prefix="rootstock-bench-", dir=arguments.folder)
    try:
        program = [EXAMPLES / "runnersload", mode, arguments.runners, arguments.seconds, folder, RELEASE / "rootstockd"]
        result = subprocess.run([str(word) for word in program], stdout=subprocess.PIPE, text=True)
        if result.returncode != 0:
            sys.exit(f"error: runnersload ended with {result.returncode}")
        made = json.loads(result.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(made))
    return made


def latencies(goals, made, bounds):
    for name, figure in made["ms"].items():
        if figure:
            text = f"{figure['median']:.1f} / {figure['p99']:.1f} / {figure['most']:.1f} ms of {figure['count']:,}"
            bound = bounds.get(name)
            goals.line(f"{name}, median/p99/most", text, figure["p99"] <= bound if bound else None, f"p99 < {bound} ms")


def runners(arguments):
    """So many Macs at work at the same time."""
    goals = Goals()
    made = simulated("runners", arguments)
    goals.line("runs that ended well", f"{made['succeeded']} of {made['macs']}", made["succeeded"] == made["macs"], "all")
    goals.line("reports of progress lost", f"{made['lost_progress']}")
    goals.line("processor, seconds a second", f"{made['cpu']:.2f}")
    memory = made["peak_memory"]
    goals.line("memory, most resident", f"{memory / 2**20:.0f} MiB", memory < MEMORY, f"{MEMORY >> 20} MiB")
    latencies(goals, made, {"next": NEXT})
    size = made["database_a_run"]
    goals.line("database after a stop, a run", f"{size / 1024:.1f} KiB", size < DATABASE, f"{DATABASE >> 10} KiB")
    return goals.wrong


def storm(arguments):
    """All of them lose the daemon, and want to go on."""
    goals = Goals()
    made = simulated("storm", arguments)
    goals.line("runs that ended well", f"{made['succeeded']} of {made['macs']}", made["succeeded"] == made["macs"], "all")
    goals.line("acknowledged and forgotten", f"{made['forgotten']}", made["forgotten"] == 0, "none")
    goals.line("the daemon serves again after", f"{made['ready']:.2f} s")
    last = made["last"] or float("inf")
    text = f"{last:.2f} s after the kill, half of them after {made['median'] or 0:.2f} s"
    goals.line("the last one goes on", text, made["went_on"] == made["macs"] and last < STORM, f"all within {STORM:.0f} s")
    goals.line("memory, most resident", f"{made['peak_memory'] / 2**20:.0f} MiB")
    latencies(goals, made, {})
    return goals.wrong


PARTS = {"plan": plan, "runners": runners, "storm": storm, "targets": targets}


def main():
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between them")
    parser.add_argument("--devices", type=numbers, default=[1000, 10_000, 100_000], help="sizes of the curve")
    parser.add_argument("--collections", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200, help="inventory changes that are measured")
    parser.add_argument("--runners", type=int, default=500, help="simulated Macs")
    parser.add_argument("--seconds", type=int, default=90, help="how long the run of one of them takes")
    parser.add_argument("--folder", help="where databases lie while they are measured; a disk, not memory")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON, too")
    arguments = parser.parse_args()
    wrong = []
    for part in arguments.parts.split(","):
        if part not in PARTS:
            sys.exit(f"error: there is no part {part}: {', '.join(PARTS)}")
        wrong += PARTS[part](arguments)
    for line in wrong:
        print(f"beyond its bound: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
