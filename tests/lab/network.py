"""An isolated network: three namespaces on one bridge.

    site      10.77.N.2   a DHCP server that hands out addresses and knows nothing of booting
    box       10.77.N.1   rootstockd
    wire      (none)      bridge and the virtual machine's tap

With `open_to_host` this machine gets 10.77.N.254 on the bridge, so that a person can reach the appliance.
Nothing is routed: no packet leaves, none comes in.
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from process import Process, run


class Network:
    def __init__(self, folder: Path, open_to_host: bool = False):
        sweep()
        self.id = os.getpid()
        self.folder = folder
        self.prefix = f"10.77.{self.id % 250 + 1}"
        self.box_address = f"{self.prefix}.1"
        self.tap = "tap0"
        self.spaces = {role: f"rootstock-{role}-{self.id}" for role in ("wire", "site", "box")}
        self.dhcp = None
        try:
            self._build(open_to_host)
        except BaseException:
            self.close()
            raise

    def _build(self, open_to_host: bool):
        for space in self.spaces.values():
            run("ip", "netns", "add", space)
            self._in(space, "ip", "link", "set", "lo", "up")
        wire = self.spaces["wire"]
        self._in(wire, "ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self._in(wire, "ip", "link", "set", "br0", "up")
        for role, number in (("box", 1), ("site", 2)):
            self._plug(self.spaces[role], role, "eth0", f"{self.prefix}.{number}/24")
        if open_to_host:
            self._plug(None, "host", f"rs{self.id}", f"{self.prefix}.254/24")
        self._in(wire, "ip", "tuntap", "add", self.tap, "mode", "tap")
        self._in(wire, "ip", "link", "set", self.tap, "master", "br0", "up")

    def _plug(self, space, port: str, name: str, address: str):
        """A cable from the bridge's `port` to interface `name` in `space`, or on this machine."""
        wire = self.spaces["wire"]
        where = ["netns", space] if space else ["netns", "1"]
        self._in(wire, "ip", "link", "add", port, "type", "veth", "peer", "name", name)
        self._in(wire, "ip", "link", "set", name, *where)
        self._in(wire, "ip", "link", "set", port, "master", "br0", "up")
        commands = (
            # `brd +`: without it broadcasts go to 0.0.0.0.
            ["ip", "address", "add", address, "brd", "+", "dev", name],
            ["ip", "link", "set", name, "up"],
        )
        for command in commands:
            self._in(space, *command) if space else run(*command)

    def start_dhcp(self):
        """The site's DHCP server: dnsmasq with addresses only, no boot options, no DNS."""
        prefix = self.prefix
        self.dhcp = Process(
            self.command("site", "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--log-dhcp",
                         "--interface=eth0", "--bind-interfaces", "--dhcp-authoritative", "--leasefile-ro",
                         f"--dhcp-range={prefix}.100,{prefix}.200,255.255.255.0,1h"),
            self.folder / "site-dhcp.log",
        )

    def stop_dhcp(self):
        """From now on nobody but the appliance may hand out addresses."""
        self.dhcp.stop()

    def bytes_sent(self, role: str) -> int:
        """What `role` has put on the wire so far."""
        text = run("ip", "netns", "exec", self.spaces[role], "ip", "-json", "-stats", "link", "show", "eth0")
        return json.loads(text)[0]["stats64"]["tx"]["bytes"]

    def command(self, role: str, *words) -> list:
        """`words` as a command in the namespace of `role`."""
        return ["ip", "netns", "exec", self.spaces[role], *map(str, words)]

    @staticmethod
    def _in(space, *words):
        run("ip", "netns", "exec", space, *words)

    def close(self):
        if self.dhcp:
            self.dhcp.stop()
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "delete", space], stderr=subprocess.DEVNULL, check=False)


def sweep():
    """Removes namespaces of labs that were killed before they could."""
    text = run("ip", "netns", "list")
    for space, owner in re.findall(r"^(rootstock-(?:wire|site|box)-(\d+))\b", text, re.M):
        if not Path(f"/proc/{owner}").exists():
            for pid in run("ip", "netns", "pids", space).split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", space)
