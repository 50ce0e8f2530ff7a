"""Where the test guests are (scripts/guests/make-all puts them there) and command lines that boot them."""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
GUESTS = os.environ.get("RHEA_GUESTS", os.path.join(ROOT, "build", "guests"))
SKIP = 77  # meson counts this exit status as skipped


def need(name):
    """Path of a guest's file; the test is skipped, loudly, when it was not made."""
    path = os.path.join(GUESTS, name)
    if not os.path.exists(path):
        print(f"SKIP: {path} does not exist; scripts/guests/make-all makes it")
        sys.exit(SKIP)
    return path


def copy(name, folder):
    """A sparse private copy of a disk that the test may write to."""
    target = os.path.join(folder, os.path.basename(name))
    subprocess.run(["cp", "--sparse=always", need(name), target], check=True)
    return target


def bench(append="", memory=512, smp=1, scratch=None):
    """Arguments for the benchmark guest, booted directly."""
    arguments = ["-nodefaults", "-no-reboot", "-m", str(memory), "-smp", str(smp), "-kernel", need("bench/vmlinuz"),
                 "-initrd", need("bench/initrd.img"), "-append", f"console=ttyS0 quiet panic=-1 {append}"]
    if scratch:
        arguments += ["-drive", f"file={scratch},format=raw,if=virtio"]
    return arguments


def need_tool(name):
    if not shutil.which(name):
        print(f"SKIP: {name} is not installed")
        sys.exit(SKIP)
    return shutil.which(name)
