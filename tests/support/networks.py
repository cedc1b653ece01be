"""Machines for tests: namespaces with a name and a network of their own, and a link to us."""

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

# Addresses for tests of networks (RFC 2544), which no network of this machine should have.
SUBNET = f"198.18.{os.getpid() % 256}"
NAMED = 'echo "$1" > /proc/sys/kernel/hostname && shift && exec "$@"'


class NoNetworks(Exception):
    """Namespaces of networks cannot be made; the text says why."""


@dataclass(frozen=True)
class Network:
    """A namespace with a link to this machine.

    Attributes
    ----------
    host : str
        Our end of the link, as those within call this machine.
    address : str
        The end within.
    """

    name: str
    link: str
    host: str
    address: str

    @property
    def within(self):
        """Words before a command that is to run within it."""
        named = ["unshare", "--uts", "sh", "-c", NAMED, "sh", self.name]
        return ["ip", "netns", "exec", self.name, *named]

    def cut(self):
        """Cut the link, as one pulls a cable."""
        _run("ip", "link", "set", self.link, "down")

    def reconnect(self):
        """Let the link be as it was."""
        _run("ip", "link", "set", self.link, "up")


@contextmanager
def networks(n):
    """Make namespaces; they are gone afterwards.

    Raises
    ------
    NoNetworks
        Only root of a system with `ip` (iproute2) and network namespaces can.
    """
    if shutil.which("ip") is None:
        raise NoNetworks("there is no `ip`: install iproute2")
    if os.geteuid() != 0:
        raise NoNetworks("only root makes namespaces of networks")
    with ExitStack() as stack:
        yield [_made(number, stack) for number in range(n)]


def _made(number, stack):
    own = f"bwm{os.getpid()}"
    name, link, inner = f"{own}-{number}", f"b{os.getpid()}o{number}", f"b{os.getpid()}i{number}"
    host, address = f"{SUBNET}.{4 * number + 1}", f"{SUBNET}.{4 * number + 2}"
    try:
        _run("ip", "netns", "add", name)
        stack.callback(_forget, "ip", "netns", "delete", name)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", inner, "netns", name)
        stack.callback(_forget, "ip", "link", "delete", link)
        _run("ip", "address", "add", f"{host}/30", "dev", link)
        _run("ip", "-netns", name, "address", "add", f"{address}/30", "dev", inner)
        for place, end in (([], link), (["-netns", name], inner), (["-netns", name], "lo")):
            _run("ip", *place, "link", "set", end, "up")
    except subprocess.CalledProcessError as error:
        raise NoNetworks(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from None
    return Network(name, link, host, address)


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


def _forget(*command):
    with suppress(subprocess.CalledProcessError):  # its peer may have taken it along
        _run(*command)
