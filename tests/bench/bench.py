#!/usr/bin/env python3
"""Speed against peers, in one run: `./dev bench [decode|restore|tftp|http|image|boot ...]`.

Owns: which command of ours meets which of theirs on the same input, and how a ratio is formed. Every row is measured A B A B ..., the
figure is the median of the pairwise ratios; a ratio above 1 means that ours is faster. Inputs are made by the programs in images/.
`boot` is measured by boot.py, in network namespaces; `image` by image.py.
Servers listen on loopback ports that the kernel chose; everything lies in one temporary folder, on tmpfs where there is room.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import tftp

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "target/x86_64-unknown-linux-gnu/release"
MIB = 1 << 20
SEQUENCE = """
name: Bench
steps:
- name: Format
  format_disk:
    disk: 0
    partitions:
    - name: Macintosh HD
      format: hfs+
      size: 100%
- name: Apply
  apply_image:
    image: IMAGE
"""


def run(command, **options):
    """Runs a command to its end; fails loudly with its own words."""
    result = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    if result.returncode != 0:
        sys.exit(f"error: {command[0]} ended with {result.returncode}: {result.stderr.decode(errors='replace')[-800:]}")


def timed(command):
    """Wall seconds of one run of a shell command or argument list."""
    started = time.monotonic()
    run(["sh", "-c", command] if isinstance(command, str) else command)
    return time.monotonic() - started


class Table:
    """Rows of one comparison, printed as they are measured and kept for --json."""

    def __init__(self, title, unit_bytes):
        self.title, self.bytes, self.rows = title, unit_bytes, []
        print(f"\n{title}")

    def measure(self, name, ours, peers, rounds, goal, times=1):
        """Times `ours` and each peer in turn `rounds` times after one warm-up each; `times` inputs move in each."""
        everyone = {"rootstock": ours, **peers}
        seconds = {who: [] for who in everyone}
        for turn in range(rounds + 1):
            for who, command in everyone.items():
                taken = timed(command)
                if turn:
                    seconds[who].append(taken)
        rate = {who: self.bytes * times / MIB / statistics.median(taken) for who, taken in seconds.items()}
        ratios = {
            who: statistics.median(theirs / mine for theirs, mine in zip(seconds[who], seconds["rootstock"])) for who in peers
        }
        worst = min(ratios.values()) if ratios else None
        row = {"name": name, "mib_per_s": rate, "ratios": ratios, "goal": goal, "met": worst is None or worst >= goal}
        self.rows.append(row)
        rates = " · ".join(f"{who} {value:.0f}" for who, value in rate.items())
        against = " · ".join(f"÷ {who} {value:.2f}" for who, value in ratios.items())
        print(f"  {name:<26} MiB/s: {rates}\n  {'':<26} ratio: {against}   goal {goal} {'met' if row['met'] else 'MISSED'}", flush=True)


def example(name, *arguments):
    run([BIN / "examples" / name, *arguments])


def volume(folder, size):
    """The self-made HFS+ volume, two thirds full, in a GPT disk image."""
    path = folder / f"volume-{size >> 20}.raw"
    if not path.exists():
        example("mkvolume", str(size), path)
    return path


def bench_decode(folder, rounds):
    raw = volume(folder, 1 << 30)
    table = Table("decode a disk image to a file (1 GiB)", raw.stat().st_size)
    out, theirs = folder / "out.raw", folder / "theirs"
    for kind in ["UDZO", "ULFO", "UDBZ", "ULMO"]:
        dmg = folder / f"{kind}.dmg"
        example("mkdmg", kind, raw, dmg)
        peers = {"7z": f"rm -rf {theirs}; 7z x -y -tdmg -o{theirs} {dmg}"}
        if kind in ("UDZO", "UDBZ"):  # dmg2img 1.6.7 writes wrong data for LZFSE and LZMA
            peers["dmg2img"] = f"dmg2img -s {dmg} {folder}/dmg2img.raw"
        table.measure(kind, f"rm -f {out}; {BIN}/rootstock image decode {dmg} {out}", peers, rounds, 1.5)
        run(["cmp", raw, out])
        dmg.unlink()
    return table


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command, ready, log):
    """A server for the time of a `with`; `ready()` says when it answers."""
    with open(log, "wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(200):
            if process.poll() is not None:
                sys.exit(f"error: {command[0]} ended at once: {pathlib.Path(log).read_text()[-800:]}")
            if ready():
                break
            time.sleep(0.05)
        else:
            sys.exit(f"error: {command[0]} did not answer within 10 s: {pathlib.Path(log).read_text()[-800:]}")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers_tcp(port):
    def check():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check


def answers_tftp(address, port):
    def check():
        probe = ["curl", "-sf", "--max-time", "2", "-o", "/dev/null", f"tftp://{address}:{port}/probe"]
        return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0

    return check


class Appliance:
    """rootstockd on loopback with a data folder of its own."""

    def __init__(self, folder):
        self.data = folder / "appliance"
        self.socket = self.data / "rootstock.sock"
        self.ports = {name: free_port(socket.SOCK_STREAM) for name in ("http", "https")}
        self.ports |= {name: free_port(socket.SOCK_DGRAM) for name in ("dhcp", "proxy-dhcp", "tftp")}
        self.config = folder / "rootstockd.toml"
        lines = ["[network]", 'address = "127.0.0.1"', 'interfaces = ["lo"]', "[ports]"]
        lines += [f"{name} = {port}" for name, port in self.ports.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def serve(self):
        command = [BIN / "rootstockd", "--config", self.config, "--data", self.data]
        return server(command, self.answers, self.data.parent / "rootstockd.log")

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def cli(self, *arguments):
        run([BIN / "rootstock", "--socket", self.socket, *arguments])

    def post(self, path, body, token=None):
        """One JSON request of the runner protocol."""
        context = ssl.create_default_context(cafile=str(self.data / "keys/ca.pem"))
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        url = f"https://127.0.0.1:{self.ports['https']}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, context=context) as answer:
            return json.load(answer)

    def run_token(self, image):
        """The token of a run that applies `image`: what a runner fetches packs with."""
        sequence = self.data.parent / "sequence.yaml"
        sequence.write_text(SEQUENCE.replace("IMAGE", image))
        self.cli("sequence", "apply", sequence)
        self.cli("deploy", "Bench", "--to", "Unknown Macs", "--purpose", "available")
        disk = {"number": 0, "node": "/dev/sda", "model": "m", "serial": "s", "size": 1 << 40, "block_size": 512, "external": False, "contents": []}
        device = {"serial": "BENCH0001", "uuid": None, "model": "iMac14,2", "manufacturer": "Apple Inc.", "macs": ["02:00:00:00:00:01"]}
        device |= {"memory": 8 << 30, "cpu": None, "firmware": None, "disks": [disk]}
        hello = {"protocol": 1, "version": "bench", "boot": "netboot", "device": device, "receipt_key": "ab" * 32}
        welcome = self.post("/runner/v1/hello", hello)
        return self.post("/runner/v1/runs", {"deployment": welcome["offers"][0]["deployment"]}, welcome["session"])["token"]


def bench_restore(folder, rounds):
    disk = volume(folder, 2 << 30)
    layout = json.loads(subprocess.run([BIN / "rootstock", "image", "inspect", disk, "--json"], capture_output=True, check=True).stdout)
    part = max(layout["partitions"], key=lambda entry: entry["size"])
    plain, packed, cloned = folder / "plain.raw", folder / "plain.raw.zst", folder / "plain.partclone"
    run(["sh", "-c", f"dd if={disk} of={plain} bs=1M iflag=skip_bytes,count_bytes skip={part['start']} count={part['size']} conv=sparse"])
    run(["sh", "-c", f"zstd -q -f -3 -T0 {plain} -o {packed}; partclone.hfsplus -q -c -s {plain} -o {cloned} -L {folder}/partclone.log; zstd -q -f -3 -T0 {cloned}"])
    table = Table(f"restore a volume from the library to a file on tmpfs ({part['size'] >> 20} MiB, every byte verified)", part["size"])
    out = folder / "restored.raw"
    appliance = Appliance(folder)
    with appliance.serve():
        appliance.cli("image", "import", disk, "--name", "bench")
        restore = f"rm -f {out}; {BIN}/rootstock --socket {appliance.socket} image restore bench --partition {part['number']} --to {out}"
        table.measure(
            "restore",
            restore,
            {
                "zstd|dd": f"rm -f {out}; zstd -q -dc {packed} | dd of={out} bs=1M iflag=fullblock conv=sparse 2>/dev/null",
                "partclone": f"rm -f {out}; truncate -s {part['size']} {out}; zstd -q -dc {cloned}.zst | partclone.restore -q -C -s - -O {out} -L {folder}/partclone.log",
            },
            rounds,
            1.5,
        )
        timed(restore)
        run(["cmp", plain, out])
    return table


def bench_tftp(folder, rounds):
    return tftp.measure(sys.modules[__name__], folder, rounds)


NGINX = """
daemon off; master_process off; error_log stderr; pid PID;
events {}
http {
  access_log off; sendfile on;
  server { listen 127.0.0.1:PORT ssl; root ROOT; ssl_certificate CERT; ssl_certificate_key KEY; ssl_protocols TLSv1.3; }
}
"""


def bench_http(folder, rounds):
    disk = volume(folder, 2 << 30)
    appliance, port = Appliance(folder), free_port(socket.SOCK_STREAM)
    cert, key, config = folder / "cert.pem", folder / "key.pem", folder / "nginx.conf"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject, "-keyout", key, "-out", cert])
    words = {"PID": folder / "nginx.pid", "PORT": port, "ROOT": appliance.data / "store/packs", "CERT": cert, "KEY": key}
    text = NGINX
    for word, value in words.items():
        text = text.replace(word, str(value), 1)
    config.write_text(text)
    with contextlib.ExitStack() as stack:
        stack.enter_context(appliance.serve())
        appliance.cli("image", "import", disk, "--name", "bench")
        token = folder / "header"
        token.write_text(f"Authorization: Bearer {appliance.run_token('bench')}\n")
        pack = max((appliance.data / "store/packs").iterdir(), key=lambda file: file.stat().st_size)
        stack.enter_context(server(["nginx", "-e", "stderr", "-p", folder, "-c", config], answers_tcp(port), folder / "nginx.log"))
        size = pack.stat().st_size
        table = Table(f"HTTPS range of a pack on loopback, TLS 1.3 AES-128-GCM ({size >> 20} MiB)", size)
        curl = f"curl -sf --tls13-ciphers TLS_AES_128_GCM_SHA256 -o /dev/null -r 0-{size - 1}"
        ours = f"{curl} --cacert {appliance.data}/keys/ca.pem -H @{token} https://127.0.0.1:{appliance.ports['https']}/runner/v1/packs/{pack.stem}"
        theirs = f"{curl} --cacert {cert} https://127.0.0.1:{port}/{pack.name}"
        table.measure("one connection", ours, {"nginx": theirs}, rounds, 0.8)
        both = "{0} & {0} & {0} & {0} & wait"
        table.measure("four connections", both.format(ours), {"nginx": both.format(theirs)}, rounds, 0.8, times=4)
    return table


class Boot:
    """The boot services as one table: parts of boot.py, and TFTP as `bench tftp` has it."""

    title, parts, bsdpy = "boot services", ("dhcp", "tftp", "vm"), None

    def __init__(self, folder, rounds):
        import boot

        self.rows = boot.bench(folder, rounds, self.parts, self.bsdpy)
        if "tftp" in self.parts:
            self.rows += bench_tftp(folder, rounds).rows


class Image:
    """The image pipeline as one table: image.py."""

    title, parts, size, sizes = "image pipeline", (), 0, ()

    def __init__(self, folder, rounds):
        import image

        self.rows = image.bench(sys.modules[__name__], folder, rounds, self.parts, self.size, self.sizes)


PARTS_OF_IMAGE = ("decode", "import", "versions", "restore", "reimage", "capture", "export", "flat")
BENCHES = {"boot": Boot, "image": Image, "decode": bench_decode, "restore": bench_restore, "tftp": bench_tftp, "http": bench_http}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", default=list(BENCHES), help=f"any of {', '.join(BENCHES)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds after one warm-up")
    parser.add_argument("--folder", help="where inputs and results lie; default: a temporary folder in /dev/shm")
    parser.add_argument("--json", help="write all rows to this file")
    parser.add_argument("--parts", nargs="+", choices=[*Boot.parts, *PARTS_OF_IMAGE], help="parts of `boot` or `image`; default all")
    parser.add_argument("--size", type=float, default=1, help="GiB of the volume of `image`; default 1")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32], help="GiB of the volumes of its part `flat`; default 1 8 32")
    parser.add_argument("--bsdpy", default=os.environ.get("ROOTSTOCK_BSDPY"), help="bsdpserver.py of BSDPy, as another peer of `boot`")
    chosen = parser.parse_args()
    wanted = chosen.parts or [*Boot.parts, *PARTS_OF_IMAGE]
    # One of the others measures TFTP already.
    Boot.parts = [part for part in Boot.parts if part in wanted and part not in chosen.which]
    Image.parts = [part for part in PARTS_OF_IMAGE if part in wanted]
    Image.size, Image.sizes = int(chosen.size * 1024) * MIB, chosen.sizes
    Boot.bsdpy = chosen.bsdpy
    base = chosen.folder or ("/dev/shm" if shutil.disk_usage("/dev/shm").free > 12 << 30 else None)
    rows = []
    with tempfile.TemporaryDirectory(prefix="rootstock-bench-", dir=base) as folder:
        for name in chosen.which:
            if name not in BENCHES:
                parser.error(f"`{name}` is none of {', '.join(BENCHES)}")
            table = BENCHES[name](pathlib.Path(folder), chosen.rounds)
            rows += [{"table": table.title, **row} for row in table.rows]
    print(f"\npeak memory of the largest child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MiB")
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
