"""A domain of Active Directory in a folder, for the test beside this: `domain.py FOLDER`, with the system's Python and Samba's own modules.

The test gives authority, certificate and key in FOLDER/tls; what it starts then is in FOLDER/smb.conf.
"""

import pathlib
import subprocess
import sys

from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

folder = pathlib.Path(sys.argv[1])
PASSWORD = "correct Horse 7"
words = ["provision", "--realm=LAB.TEST", "--domain=LAB", "--server-role=dc", "--dns-backend=NONE", f"--adminpass={PASSWORD}"]
words += [f"--targetdir={folder}", "--host-name=dc1", "--host-ip=127.0.0.1", f"--option=log file={folder}/log"]
done = subprocess.run(["samba-tool", "domain", *words], capture_output=True, text=True, check=False)
if done.returncode:
    sys.exit(f"samba-tool domain provision: {done.stdout[-500:]}{done.stderr[-2000:]}")

made = folder / "etc/smb.conf"
served = made.read_text().replace("server services = ", "server services = ldap\n\t# before: ", 1)
tls = "".join(f"\ttls {kind}file = {folder}/tls/{name}.pem\n" for kind, name in (("ca", "ca"), ("cert", "cert"), ("key", "key")))
(folder / "smb.conf").write_text(served.replace("[global]\n", f"[global]\n{tls}\tinterfaces = lo\n", 1))

settings = LoadParm()
settings.load(str(made))
domain = SamDB(lp=settings, session_info=system_session())
for name, given in (("rootstock", "Root"), ("Tina", "Tina"), ("adam", "Adam"), ("norbert", "Norbert"), ("gone", "Gone")):
    domain.newuser(name, PASSWORD, givenname=given, surname="Lab")
domain.disable_account("(sAMAccountName=gone)")
for group, members in (("Lab (all)", ["Tina", "gone"]), ("Techs", ["Lab (all)"]), ("Admins", ["adam"])):
    domain.newgroup(group)
    domain.add_remove_group_members(group, members, True)
