"""The image pipeline against peers: `./dev bench image`. Called by bench.py.

    decode    UDZO, UDBZ, ULFO, ULMO to a file: 7z, dmg2img, qemu-img, dmgwiz
    import    one version into an empty library: FOG's way (partclone | zstdmt -3), casync, desync, restic, borg
    versions  five versions of one volume (images/mkversion.rs): bytes that each store has in the end
    restore   one version to a file and to null: zstd | dd, partclone, casync, desync, bmaptool; and what decompress + digest + copy
              of the same chunks alone allow (tests/bench/imagelimit.rs)
    reimage   the target holds the same version, the one before of which 1 % is other, or the one after (a Mac that was used, put back):
              bytes over the wire, time; and one read of the target with its digest alone
    capture   a half-full volume of a loop device: partclone | zstd; bytes of a second capture after a week
    export    disk images that we write, read by 7z, dmg2img, qemu-img, dmgwiz: the same bytes
    flat      seconds and memory for each GiB at 1, 8 and 32 GiB

How it is measured: A B A B after one warm-up, every contestant from the same state (prepared before the clock starts). A ratio is the
median of the pairwise ratios of the rounds, and above 1 means that ours is faster. Peak memory is that of the largest process, ours
and the daemon's alike (25 MiB or less: the system counts what this program had when it started the other). Each result is compared with the volume, byte by byte, once. Free blocks of the volumes are zeros, which
helps those that do not know file systems.

`./dev` brings desync (Debian unstable's package, unpacked beside the others) and dmgwiz (crates.io); ROOTSTOCK_DESYNC and ROOTSTOCK_DMGWIZ
name other programs. Where one cannot be had its column is left out, and the table says so.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

MIB, GIB = 1 << 20, 1 << 30
VERSIONS = 5
PEAK_GOAL = 200 * MIB
NGINX = """
daemon off; master_process off; error_log stderr; pid PID;
events {}
http {
  log_format sent "$bytes_sent"; access_log LOG sent; sendfile on;
  server { listen 127.0.0.1:PORT; root ROOT; }
}
"""


class Contestant:
    """One way to do the work of a row. `prepare` is not timed; `pid` is a daemon that works for it; `stored` is what it leaves."""

    def __init__(self, command, prepare=None, pid=None, stored=None, check=None):
        self.command, self.prepare, self.pid, self.stored, self.check = command, prepare, pid, stored, check


def bytes_of(*paths):
    """Bytes of all files below, as they are long, not as a file system rounds them."""
    total = 0
    for path in map(pathlib.Path, paths):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        total += sum(file.stat().st_size for file in files)
    return total


def wipe(*paths):
    for path in paths:
        subprocess.run(["rm", "-rf", path], check=True)


def peak_of(pid):
    """Bytes that a process had at most since `forget_peak`."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10


def forget_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def timed(command, pid=None):
    """Runs a shell command or words to their end: wall seconds and peak memory."""
    words = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else [str(word) for word in command]
    if pid:
        forget_peak(pid)
    errors = subprocess.PIPE
    started = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: `{command if isinstance(command, str) else ' '.join(words)}` ended with {process.returncode}: {said.decode(errors='replace')[-800:]}")
    return seconds, max(usage.ru_maxrss << 10, peak_of(pid) if pid else 0)


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


class Rows:
    """Rows as they are measured: printed at once, kept for --json and for the summary."""

    def __init__(self, title):
        self.title, self.rows = title, []
        print(f"\n{title}", flush=True)

    def add(self, name, told, goal=None, met=None, **figures):
        """One row; `goal` in words."""
        self.rows.append({"name": name, "goal": goal, "met": met, **figures})
        verdict = "" if goal is None else f"   goal {goal}: {'not judged' if met is None else 'met' if met else 'MISSED'}"
        head, *more = told
        print(f"  {name:<24} {head}" + "".join(f"\n  {'':<24} {line}" for line in more) + verdict, flush=True)

    def note(self, text):
        print(f"  note: {text}", flush=True)

    def compete(self, name, size, contestants, rounds, goal, memory=None, least=False):
        """Times everybody in turn; the first is ours. `least`: nobody else may store less."""
        everyone = list(contestants)
        ours, peers = everyone[0], everyone[1:]
        seconds, peaks, stored = ({who: [] for who in everyone} for _ in range(3))
        for turn in range(rounds + 1):
            for who, one in contestants.items():
                if one.prepare:
                    one.prepare()
                taken, peak = timed(one.command, one.pid() if one.pid else None)
                if one.check and not turn:
                    one.check()
                if turn or not rounds:
                    seconds[who].append(taken)
                    peaks[who].append(peak)
                    if one.stored:
                        stored[who].append(one.stored())
        rate = {who: spread([size / MIB / one for one in taken]) for who, taken in seconds.items()}
        ratios = {who: spread([theirs / mine for theirs, mine in zip(seconds[who], seconds[ours])]) for who in peers}
        peak = {who: max(all_) for who, all_ in peaks.items()}
        kept = {who: statistics.median(all_) for who, all_ in stored.items() if all_}
        worst = min((ratios[who]["median"] for who in peers), default=None)
        met = worst is None or worst >= goal
        goals = f"≥ {goal} × best" if goal else None
        if memory:
            met, goals = met and peak[ours] < memory, f"{goals}, peak < {memory >> 20} MiB"
        if least:
            met, goals = met and kept[ours] <= min(kept[who] for who in peers), f"{goals}, stored ≤ best"
        told = ["MiB/s: " + " · ".join(f"{who} {one['median']:.0f} ({one['min']:.0f}-{one['max']:.0f})" for who, one in rate.items())]
        if peers:
            told.append("ratio: " + " · ".join(f"÷ {who} {one['median']:.2f} ({one['min']:.2f}-{one['max']:.2f})" for who, one in ratios.items()))
        told.append("peak MiB: " + " · ".join(f"{who} {value >> 20}" for who, value in peak.items()))
        if kept:
            told.append("stored MiB: " + " · ".join(f"{who} {value / MIB:.1f}" for who, value in kept.items()))
        self.add(name, told, goals, met if goals else None, seconds=seconds, mib_per_s=rate, ratios=ratios, peak_bytes=peak, stored_bytes=kept)
        return seconds


class Lab:
    """What the rows share: programs, volumes, places."""

    def __init__(self, bench, folder, rounds, size):
        self.bench, self.folder, self.rounds, self.size = bench, folder, rounds, size
        self.desync = os.environ.get("ROOTSTOCK_DESYNC") or shutil.which("desync")
        self.dmgwiz = os.environ.get("ROOTSTOCK_DMGWIZ") or shutil.which("dmgwiz")
        self.rootstock = bench.BIN / "rootstock"
        os.environ |= {"RESTIC_PASSWORD": "bench", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        os.environ |= {"BORG_BASE_DIR": str(folder / "borg-home"), "XDG_CACHE_HOME": str(folder / "cache")}

    def volume(self, version, size=None, percent=5, full=50):
        """Version `version` of the volume; the first is 0."""
        size = size or self.size
        path = self.folder / f"volume-{size >> 20}-{version}-{percent}-{full}.raw"
        if not path.exists():
            self.bench.example("mkversion", size, version, path, 1, percent, full)
        return path

    def example(self, name):
        return self.bench.BIN / "examples" / name

    def missing(self, rows):
        if not self.desync:
            rows.note("desync: not measured, ROOTSTOCK_DESYNC names none; casync has its format")


class Library:
    """A daemon with an empty library, made anew by `fresh`."""

    def __init__(self, lab, name):
        self.lab, self.place, self.stack, self.process = lab, lab.folder / f"library-{name}", None, None

    def fresh(self):
        self.close()
        wipe(self.place)
        self.place.mkdir()
        self.appliance = self.lab.bench.Appliance(self.place)
        self.stack = contextlib.ExitStack()
        self.process = self.stack.enter_context(self.appliance.serve())

    def close(self):
        if self.stack:
            self.stack.close()
            self.stack = None

    def command(self, *words):
        return [self.lab.rootstock, "--socket", self.place / "appliance/rootstock.sock", *words]

    def cli(self, *words):
        self.lab.bench.run(self.command(*words))

    def json(self, *words):
        done = subprocess.run([str(word) for word in self.command(*words, "--json")], capture_output=True, check=False)
        if done.returncode:
            sys.exit(f"error: rootstock {' '.join(map(str, words))}: {done.stderr.decode(errors='replace')[-800:]}")
        return json.loads(done.stdout)

    def pid(self):
        return self.process.pid

    def stored(self):
        # Without what is kept for a full disk, which holds nothing.
        return bytes_of(self.place / "appliance/store") - bytes_of(self.place / "appliance/store/reserve")

    def __enter__(self):
        self.fresh()
        return self

    def __exit__(self, *_):
        self.close()
        wipe(self.place)


# --- decode ---------------------------------------------------------------------------------------------------


def decoders(lab, kind, dmg, size):
    """Who else reads this format; the file that each writes."""
    folder = lab.folder / "decoded"
    wipe(folder)
    folder.mkdir()
    ways = {"7z": (f"rm -rf {folder}/7z; 7z x -y -tdmg -o{folder}/7z {dmg}", folder / "7z")}
    if kind in ("UDZO", "UDBZ"):  # dmg2img 1.6.7 writes wrong data for LZFSE and LZMA
        ways["dmg2img"] = (f"rm -f {folder}/dmg2img; dmg2img -s {dmg} {folder}/dmg2img", folder / "dmg2img")
    ways["qemu-img"] = (f"rm -f {folder}/qemu; qemu-img convert -f dmg -O raw {dmg} {folder}/qemu", folder / "qemu")
    if lab.dmgwiz:
        ways["dmgwiz"] = (f"rm -f {folder}/dmgwiz; {lab.dmgwiz} -q extract {dmg} {folder}/dmgwiz", folder / "dmgwiz")
    return ways


def same(raw, out):
    """Whether a decoder's file has the bytes of the volume; 7z makes a folder."""
    if out.is_dir():
        out = max(out.rglob("*"), key=lambda file: file.stat().st_size)
    return subprocess.run(["cmp", "-s", raw, out], check=False).returncode == 0


def decode(lab):
    raw = lab.volume(0)
    rows = Rows(f"decode a disk image to a file ({lab.size >> 20} MiB, half full)")
    out = lab.folder / "out.raw"
    if not lab.dmgwiz:
        rows.note("dmgwiz: not measured, ROOTSTOCK_DMGWIZ names none")
    for kind in ("UDZO", "UDBZ", "ULFO", "ULMO"):
        dmg = lab.folder / f"{kind}.dmg"
        lab.bench.example("mkdmg", kind, raw, dmg)
        contestants = {"rootstock": Contestant(f"rm -f {out}; {lab.rootstock} image decode {dmg} {out}")}
        for who, (command, file) in decoders(lab, kind, dmg, lab.size).items():
            done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
            if done.returncode or not same(raw, file):
                rows.note(f"{who}: not measured, it does not read {kind}: {'its bytes are others' if not done.returncode else done.stderr.decode(errors='replace').strip().splitlines()[-1][:120]}")
            else:
                contestants[who] = Contestant(command)
        rows.compete(kind, lab.size, contestants, lab.rounds, 1.8, memory=PEAK_GOAL)
        if not same(raw, out):
            sys.exit(f"error: ours decodes {kind} to other bytes")
        wipe(dmg, out, lab.folder / "decoded")
    return rows


# --- import and versions ------------------------------------------------------------------------------------------


class Peers:
    """Stores of others, each below one folder: how to make them, how to add version K, what they weigh."""

    def __init__(self, lab):
        self.lab, self.place = lab, lab.folder / "peers"

    def names(self):
        return ["partclone|zstdmt", "casync"] + (["desync"] if self.lab.desync else []) + ["restic", "borg"]

    def folder(self, who):
        return self.place / who.replace("|", "-")

    def empty(self, who):
        folder = self.folder(who)
        wipe(folder)
        folder.mkdir(parents=True)
        if who == "restic":
            self.lab.bench.run(["restic", "-q", "init", "--repository-version", "2", "-r", folder / "repo"])
        if who == "borg":
            self.lab.bench.run(["borg", "init", "-e", "none", folder / "repo"])
        if who == "desync":
            (folder / "store").mkdir()

    def add(self, who, version, raw):
        folder = self.folder(who)
        return {
            "partclone|zstdmt": f"partclone.hfsplus -q -c -s {raw} -o - -L {folder}.log | zstdmt -q -f -3 -o {folder}/{version}.zst",
            "casync": f"casync make --compression=zstd --store={folder}/store.castr {folder}/{version}.caibx {raw}",
            "desync": f"{self.lab.desync} make -n 2 -s {folder}/store {folder}/{version}.caibx {raw}",
            # Standard input: every version has the same name, and the program reads what it is given.
            "restic": f"restic -q -r {folder}/repo backup --compression auto --stdin --stdin-filename volume.raw < {raw}",
            "borg": f"borg create --compression zstd,3 {folder}/repo::{version} {raw}",
        }[who]

    def stored(self, who):
        return bytes_of(self.folder(who))

    def contestant(self, who, raw):
        return Contestant(self.add(who, 0, raw), lambda: self.empty(who), stored=lambda: self.stored(who))


def import_(lab):
    raw, peers = lab.volume(0), Peers(lab)
    rows = Rows(f"import of one version into an empty library ({lab.size >> 20} MiB, half full)")
    lab.missing(rows)
    with Library(lab, "import") as library:
        contestants = {"rootstock": Contestant(library.command("image", "import", raw, "--name", "bench"), library.fresh, library.pid, library.stored)}
        contestants |= {who: peers.contestant(who, raw) for who in peers.names()}
        rows.compete("import", lab.size, contestants, lab.rounds, 1.5, least=True)
    wipe(peers.place)
    return rows


def versions(lab):
    peers = Peers(lab)
    rows = Rows(f"{VERSIONS} versions of one volume, 5 % of its files changed between them ({lab.size >> 20} MiB each, half full)")
    lab.missing(rows)
    for who in peers.names():
        peers.empty(who)
    seconds = {who: [] for who in ["rootstock", *peers.names()]}
    after = {who: [] for who in seconds}
    with Library(lab, "versions") as library:
        for version in range(VERSIONS):
            raw = lab.volume(version)
            taken, _ = timed(library.command("image", "import", raw, "--name", "bench"), library.pid())
            seconds["rootstock"].append(taken)
            after["rootstock"].append(library.stored())
            for who in peers.names():
                taken, _ = timed(peers.add(who, version, raw))
                seconds[who].append(taken)
                after[who].append(peers.stored(who))
            if version:
                wipe(raw)
    total = {who: all_[-1] for who, all_ in after.items()}
    zstd_sum = total["partclone|zstdmt"]
    best = min(value for who, value in total.items() if who not in ("rootstock", "partclone|zstdmt"))
    of_sum, of_best = total["rootstock"] / zstd_sum, total["rootstock"] / best
    told = ["stored MiB: " + " · ".join(f"{who} {value / MIB:.1f}" for who, value in total.items())]
    told.append("after each version: " + " · ".join(f"{who} {'/'.join(f'{value / MIB:.0f}' for value in all_)}" for who, all_ in after.items()))
    told.append("seconds in all: " + " · ".join(f"{who} {sum(all_):.1f}" for who, all_ in seconds.items()))
    told.append(f"{of_sum:.3f} of the sum of zstd images, {of_best:.2f} × the best of the others")
    goal = "≤ 0.35 of the zstd sum, ≤ 1.1 × the best"
    rows.add("five versions", told, goal, of_sum <= 0.35 and of_best <= 1.1, stored_bytes=after, seconds=seconds, of_zstd_sum=of_sum, of_best=of_best)
    wipe(peers.place)
    return rows


# --- restore ------------------------------------------------------------------------------------------------------


def restore(lab):
    raw, peers, out = lab.volume(0), Peers(lab), lab.folder / "restored.raw"
    rows = Rows(f"restore of one version ({lab.size >> 20} MiB, half full)")
    lab.missing(rows)
    place = lab.folder / "restore"
    place.mkdir()
    fresh = lambda: wipe(out)  # noqa: E731
    compare = lambda: lab.bench.run(["cmp", raw, out])  # noqa: E731
    lab.bench.run(["bash", "-c", f"zstd -q -f -3 -T0 {raw} -o {place}/raw.zst; bmaptool -q create -o {place}/raw.bmap {raw}"])
    for who in ("partclone|zstdmt", "casync") + (("desync",) if lab.desync else ()):
        peers.empty(who)
        timed(peers.add(who, 0, raw))
    with Library(lab, "restore") as library:
        library.cli("image", "import", raw, "--name", "bench")
        cloned, chunks = peers.folder("partclone|zstdmt") / "0.zst", peers.folder("casync")
        ways = {
            "rootstock": library.command("image", "restore", "bench", "--to", out),
            "zstd|dd": f"zstd -q -dc {place}/raw.zst | dd of={out} bs=1M iflag=fullblock conv=sparse",
            "partclone": f"truncate -s {lab.size} {out}; zstd -q -dc {cloned} | partclone.restore -q -C -s - -O {out} -L {place}/partclone.log",
            "casync": f"casync extract --store={chunks}/store.castr {chunks}/0.caibx {out}",
            "bmaptool": f"bmaptool -q copy --bmap {place}/raw.bmap {place}/raw.zst {out}",
        }
        if lab.desync:
            ways["desync"] = f"{lab.desync} extract -n 2 -s {peers.folder('desync')}/store {peers.folder('desync')}/0.caibx {out}"
        contestants = {who: Contestant(command, fresh, check=compare) for who, command in ways.items()}
        seconds = rows.compete("to a file", lab.size, contestants, lab.rounds, 1.5)
        wipe(out)
        limit = [lab.example("imagelimit"), "unpack", library.place / "appliance/store", out]
        against_limit(rows, "to a file", limit, fresh, compare, ways["rootstock"], lab.rounds, 1.25)
        proved = [limit[0], "proved", *limit[2:]]
        against_limit(rows, "to a file, read back", proved, fresh, compare, ways["rootstock"], lab.rounds, 1.25)
        wipe(out)
        null = {
            "rootstock": Contestant(library.command("image", "verify", "bench"), pid=library.pid),
            "zstd|dd": Contestant(f"zstd -q -dc {place}/raw.zst | dd of=/dev/null bs=1M iflag=fullblock"),
            "bmaptool": Contestant(f"bmaptool -q copy --bmap {place}/raw.bmap {place}/raw.zst /dev/null"),
            "partclone": Contestant(f"zstd -q -dc {cloned} | partclone.chkimg -s - -L {place}/partclone.log"),
        }
        rows.note("null: ours is `image verify` (read, decompress, digest, compare with the manifest), partclone's is chkimg")
        rows.compete("to null", lab.size, null, lab.rounds, 1.5)
        against_limit(rows, "to null", limit[:3], None, None, null["rootstock"].command, lab.rounds, 1.25)
    del seconds
    wipe(peers.place, place, out)
    return rows


def against_limit(rows, name, limit, prepare, check, ours, rounds, goal):
    """Our seconds as a multiple of what is possible, pairwise."""
    pairs = []
    for turn in range(rounds + 1):
        both = []
        for command in (limit, ours):
            if prepare:
                prepare()
            both.append(timed(command)[0])
            if check and not turn:
                check()
        if turn or not rounds:
            pairs.append(both)
    ratio = spread([mine / least for least, mine in pairs])
    told = [f"{ratio['median']:.2f} × the limit ({ratio['min']:.2f}-{ratio['max']:.2f}): {statistics.median(one[1] for one in pairs):.2f} s, limit {statistics.median(one[0] for one in pairs):.2f} s"]
    rows.add(f"{name}: limit", told, f"≤ {goal} × limit", ratio["median"] <= goal, seconds={"limit": [one[0] for one in pairs], "rootstock": [one[1] for one in pairs]}, ratio=ratio)


# --- re-imaging ---------------------------------------------------------------------------------------------------


def other_bytes(one, two):
    """Bytes in blocks of 4 KiB that differ."""
    total, step = 0, 4096
    with open(one, "rb") as first, open(two, "rb") as second:
        while True:
            ours, theirs = first.read(MIB), second.read(MIB)
            if not ours and not theirs:
                return total
            if ours != theirs:
                total += sum(step for at in range(0, max(len(ours), len(theirs)), step) if ours[at : at + step] != theirs[at : at + step])


@contextlib.contextmanager
def web(lab, root):
    """A folder over HTTP on loopback; gives its port and its log of bytes sent."""
    place, port = lab.folder / "web", lab.bench.free_port(socket.SOCK_STREAM)
    wipe(place)
    place.mkdir()
    config, log, text = place / "nginx.conf", place / "sent.log", NGINX
    for word, value in {"PID": place / "nginx.pid", "PORT": port, "ROOT": root, "LOG": log}.items():
        text = text.replace(word, str(value), 1)
    config.write_text(text)
    with lab.bench.server(["nginx", "-e", "stderr", "-p", place, "-c", config], lab.bench.answers_tcp(port), place / "nginx.log"):
        yield port, log


def reimage(lab):
    rows = Rows(f"re-image a target over HTTP on loopback ({lab.size >> 20} MiB, half full)")
    lab.missing(rows)
    old, slightly = lab.volume(0), lab.volume(1, percent=1)
    changed = other_bytes(old, slightly)
    rows.note(f"1 % changed: {changed / MIB:.1f} MiB in blocks of 4 KiB are other, {100 * changed / lab.size:.2f} % of the image, {200 * changed / lab.size:.2f} % of what is used")
    target, output = lab.folder / "target.raw", lab.folder / "said"
    peers = Peers(lab)
    chunked = ["casync"] + (["desync"] if lab.desync else [])
    for who in chunked:
        peers.empty(who)
        timed(peers.add(who, 1, slightly))
        timed(peers.add(who, 0, old))
    with Library(lab, "reimage") as library, web(lab, peers.place) as (port, log):
        for version, raw in ((0, old), (1, slightly)):
            library.cli("image", "import", raw, "--name", f"version-{version}")
        cases = [(0, old, old, "nothing changed", 0.005), (1, slightly, old, "1 % changed", 0.02), (0, old, slightly, "1 % changed there", 0.02)]
        for version, raw, lies, name, share in cases:
            stale = lambda: lab.bench.run(["cp", "--sparse=always", lies, target])  # noqa: E731
            wire = Wire(lab, library, version, target, output, log)
            ways = {
                "rootstock": (wire.ours(), wire.of_ours),
                "casync": (f"casync extract --store=http://127.0.0.1:{port}/casync/store.castr {peers.folder('casync')}/{version}.caibx {target}", wire.of_web),
                "rsync": (f"rsync --inplace --no-whole-file -I --stats {raw} {target} > {output}", wire.of_rsync),
            }
            if lab.desync:
                store, index = f"http://127.0.0.1:{port}/desync/store", peers.folder("desync") / f"{version}.caibx"
                ways["desync"] = (f"{lab.desync} extract -k -n 2 -s {store} {index} {target}", wire.of_web)
            contestants = {}
            for who, (command, count) in ways.items():
                prepare = lambda: (stale(), wire.reset())  # noqa: E731
                prepare()
                done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
                if done.returncode and who != "rootstock":
                    rows.note(f"{who}: not measured, it ended with {done.returncode}: {(done.stderr.strip().splitlines() or ['-'])[-1][:120]}")
                    continue
                contestants[who] = Contestant(command, prepare, stored=count, check=lambda: lab.bench.run(["cmp", raw, target]))
            moved = compete_moved(rows, name, lab, contestants, share)
            del moved
            stale()
            digest = [lab.example("imagelimit"), "read", target]
            against_limit(rows, f"{name}, read", digest, stale, None, wire.ours(), lab.rounds, 1.3)
    wipe(peers.place, target, slightly, lab.folder / "web", output)
    return rows


class Wire:
    """Counts what crossed the wire for each of the contestants."""

    def __init__(self, lab, library, version, target, output, log):
        self.lab, self.library, self.version, self.target, self.output, self.log = lab, library, version, target, output, log

    def ours(self):
        words = self.library.command("image", "restore", f"version-{self.version}", "--to", self.target, "--json")
        return " ".join(map(str, words)) + f" > {self.output}"

    def reset(self):
        self.log.write_text("")
        wipe(self.output)

    def of_ours(self):
        """Frames fetched, and what a runner is sent before them: the manifest and where its chunks lie."""
        said = json.loads(self.output.read_text())
        manifest = self.library.json("image", "show", f"version-{self.version}")["versions"][0]["manifest"]
        words = [self.lab.example("imagelimit"), "tables", self.library.place / "appliance/store", manifest]
        tables = int(subprocess.run(words, capture_output=True, check=True).stdout)
        return said["fetched"] + tables

    def of_web(self):
        return sum(int(line) for line in self.log.read_text().split())

    def of_rsync(self):
        text = self.output.read_text()
        return sum(int(re.search(rf"Total bytes {way}: ([\d,]+)", text)[1].replace(",", "")) for way in ("sent", "received"))


def compete_moved(rows, name, lab, contestants, share):
    """As Rows.compete, where what is left behind is what crossed the wire; the goal is about that."""
    seconds, moved = ({who: [] for who in contestants} for _ in range(2))
    for turn in range(lab.rounds + 1):
        for who, one in contestants.items():
            one.prepare()
            taken, _ = timed(one.command)
            if not turn:
                one.check()
            if turn or not lab.rounds:
                seconds[who].append(taken)
                moved[who].append(one.stored())
    wire = {who: statistics.median(all_) for who, all_ in moved.items()}
    parts = {who: value / lab.size for who, value in wire.items()}
    told = ["wire: " + " · ".join(f"{who} {value / MIB:.2f} MiB ({100 * parts[who]:.3f} %)" for who, value in wire.items())]
    told.append("seconds: " + " · ".join(f"{who} {statistics.median(all_):.2f} ({min(all_):.2f}-{max(all_):.2f})" for who, all_ in seconds.items()))
    rows.add(name, told, f"≤ {100 * share} % of the image", parts["rootstock"] <= share, wire_bytes=moved, seconds=seconds)
    return wire


# --- capture ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def loop(raw):
    """A file as a block device, to be read."""
    done = subprocess.run(["losetup", "--find", "--show", "--read-only", raw], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: losetup: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def capture(lab):
    rows = Rows(f"capture of a half-full volume from a block device ({lab.size >> 20} MiB)")
    first, peers = lab.volume(0), Peers(lab)
    out = peers.folder("partclone|zstdmt")
    with Library(lab, "capture") as library, loop(first) as device:
        ours = library.command("image", "capture", "--from", device, "--name", "bench")
        theirs = f"partclone.hfsplus -q -c -s {device} -o - -L {out}.log | zstd -q -f -3 -T0 -o {out}/0.zst"
        contestants = {
            "rootstock": Contestant(ours, library.fresh, library.pid, library.stored),
            "partclone|zstd": Contestant(theirs, lambda: peers.empty("partclone|zstdmt"), stored=lambda: peers.stored("partclone|zstdmt")),
        }
        rows.compete("first capture", lab.size, contestants, lab.rounds, 1.0)
    # The goal is about a Mac that was used for a while; an update of the system changes more, and is told beside it.
    for percent, goal in ((1, "≤ 5 % of the bytes"), (5, None)):
        second, restored = lab.volume(1, percent=percent), lab.folder / "captured.raw"
        with Library(lab, "capture") as library:
            for raw in (first, second):
                with loop(raw) as device:
                    full, (seconds, _) = library.stored(), timed(library.command("image", "capture", "--from", device, "--name", "bench"), library.pid())
            added = library.stored() - full
            library.cli("image", "restore", "bench", "--to", restored)
            lab.bench.run(["cmp", second, restored])
        told = [f"{added / MIB:.1f} MiB after {full / MIB:.1f} MiB: {100 * added / full:.1f} % of the first, {100 * added / lab.size:.2f} % of the volume; {seconds:.1f} s"]
        rows.add(f"again, {percent} % changed", told, goal, added <= full / 20 if goal else None, stored_bytes=[full, added], seconds=seconds)
        wipe(restored, second)
    wipe(peers.place)
    return rows


# --- export -------------------------------------------------------------------------------------------------------


def export(lab):
    """Disk images that we write, read by everybody who reads their codec."""
    raw = lab.volume(0)
    rows = Rows(f"export of one version as a disk image ({lab.size >> 20} MiB, half full)")
    # dmg2img 1.6.7 writes wrong data for LZFSE, qemu-img does not know it.
    readers = {"udzo": ["7z", "dmg2img", "qemu-img", "dmgwiz"], "ulfo": ["7z", "dmgwiz"]}
    with Library(lab, "export") as library:
        library.cli("image", "import", raw, "--name", "bench")
        for kind, wanted in readers.items():
            dmg = lab.folder / f"export-{kind}.dmg"
            seconds, _ = timed(library.command("image", "export", "bench", dmg, "--format", kind), library.pid())
            ways = {who: way for who, way in decoders(lab, kind.upper(), dmg, lab.size).items() if who in wanted}
            wrong = []
            for who, (command, file) in ways.items():
                done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
                if done.returncode or not same(raw, file):
                    wrong.append(who)
            told = [f"{seconds:.2f} s, {dmg.stat().st_size / MIB:.1f} MiB; read by " + " · ".join(who for who in ways if who not in wrong)]
            told += [f"not read by {' · '.join(wrong)}"] if wrong else []
            told += [f"not asked: {who}" for who in wanted if who not in ways]
            rows.add(kind.upper(), told, "every reader of it", not wrong and len(ways) == len(wanted), seconds=seconds)
            wipe(dmg, lab.folder / "decoded")
    return rows


# --- sizes --------------------------------------------------------------------------------------------------------


def flat(lab):
    """The sizes are what differs; small ones are repeated until they are as long as one of 8 GiB."""
    # A tenth full: what the largest one has, and its copies, must lie somewhere.
    rows = Rows("seconds and memory for each GiB, by size of the volume (a tenth full)")
    sizes = [GIB * number for number in lab.flat_sizes]
    per, peaks = ({what: [] for what in ("decode UDZO", "import", "restore")} for _ in range(2))
    for size in sizes:
        times = max(min(lab.rounds, 3), 8 * GIB // size)
        raw, dmg, out = lab.volume(0, size, full=10), lab.folder / "flat.dmg", lab.folder / "flat.raw"
        lab.bench.example("mkdmg", "UDZO", raw, dmg)
        with Library(lab, "flat") as library:
            ways = {
                "decode UDZO": ([lab.rootstock, "image", "decode", dmg, out], lambda: wipe(out), None),
                "import": (library.command("image", "import", raw, "--name", "bench"), library.fresh, library.pid),
                "restore": (library.command("image", "restore", "bench", "--to", out), lambda: wipe(out), None),
            }
            for what, (command, prepare, pid) in ways.items():
                runs = []
                for _ in range(times + 1):
                    prepare()
                    # What was written before must not be flushed on this one's time.
                    os.sync()
                    runs.append(timed(command, pid() if pid else None))
                # The first one warms up.
                runs = runs[1:]
                per[what].append(statistics.median(taken for taken, _ in runs) / (size / GIB))
                peaks[what].append(max(peak for _, peak in runs))
        wipe(dmg, out, raw)
    for what, seconds in per.items():
        wide = max(seconds) / min(seconds) - 1
        # What is small is not compared: a program of 20 MiB has no growth to speak of.
        grown = max(peaks[what]) / max(peaks[what][0], 64 * MIB) - 1
        told = ["s/GiB: " + " · ".join(f"{size // GIB} GiB {value:.2f}" for size, value in zip(sizes, seconds)) + f" ({100 * wide:.0f} % apart)"]
        told.append("peak MiB: " + " · ".join(f"{size // GIB} GiB {value >> 20}" for size, value in zip(sizes, peaks[what])))
        rows.add(what, told, "within 15 %", wide <= 0.15 and grown <= 0.15, seconds_per_gib=seconds, peak_bytes=peaks[what])
    return rows


MEASURES = {"decode": decode, "import": import_, "versions": versions, "restore": restore, "reimage": reimage, "capture": capture, "export": export, "flat": flat}


def bench(bench_, folder, rounds, parts, size, flat_sizes):
    """The parts, one after the other; rows for --json, and a summary of goals."""
    lab = Lab(bench_, folder, rounds, size)
    lab.flat_sizes = flat_sizes
    all_ = []
    for part in parts:
        rows = MEASURES[part](lab)
        all_ += [{"table": rows.title, "part": part, **row} for row in rows.rows]
    print("\nsummary")
    for row in all_:
        if row["goal"]:
            print(f"  {row['part']:<9} {row['name']:<26} {'met' if row['met'] else 'MISSED' if row['met'] is False else 'not judged':<7} goal {row['goal']}")
    return all_
