"""Checks an archive of sources and keeps the SQL scripts in it. Arguments: archive, SHA-256, folder."""

import hashlib
import io
import pathlib
import sys
import tarfile

path, expected, folder = sys.argv[1:]
try:
    archive = pathlib.Path(path).read_bytes()
except FileNotFoundError:
    sys.exit(f"Debian has another version by now: there is no {pathlib.Path(path).name}")
found = hashlib.sha256(archive).hexdigest()
if found != expected:
    sys.exit(f"{path} is not the file that was pinned: its SHA-256 is {found}, not {expected}")
with tarfile.open(fileobj=io.BytesIO(archive), mode="r:bz2") as members:
    for member in members:
        if member.isfile() and member.name.endswith(".sql"):
            # One flat folder: no name can lead out of it.
            script = pathlib.Path(folder, member.name.replace("/", "_"))
            script.write_bytes(members.extractfile(member).read())
