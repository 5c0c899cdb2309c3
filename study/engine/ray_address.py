"""Where Ray is: an address that a study's runs may be sent to. Nothing here imports ray."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from wake2vec import ConfigError

LOCAL = "local"
"""The address for a Ray of one's own, on this machine."""
ADDRESS = re.compile(r"auto|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
SECONDS_TO_ANSWER = 20.0
"""For a cluster, when it is asked whether it is there."""
MOST_LETTERS = 160


def check_address(address: str) -> None:
    """Refuse what is no address, a Ray that asks for no token, and a cluster that doesn't answer.

    Ray's own look at a cluster's health is made without a token: only a cluster that refuses that asks for one. One
    that was started where there was none takes work from whoever reaches it, whatever is set here.

    It is to be called before Ray is imported, which then shows its token.

    Raises:
        ConfigError: with the remedy.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        raise ConfigError(
            f"Ray must ask for a token: RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']}, and who reaches it runs code "
            "as you; unset RAY_AUTH_MODE on all machines and start Ray anew"
        )
    os.environ["RAY_AUTH_MODE"] = "token"  # read by Ray when it is imported
    if address == LOCAL:
        return
    if not ADDRESS.fullmatch(address):
        raise ConfigError(
            f"--address must be `local`, `auto` or host:port: it is {address!r}; give `auto` on a machine of the "
            "cluster"
        )
    answered, said = _health(address, "disabled")
    if answered:
        raise ConfigError(
            f"a cluster must ask for a token: the one at {address} doesn't, and who reaches it runs code as its owner; "
            "`ray get-auth-token --generate`, copy ~/.ray/auth_token to its machines and start Ray anew"
        )
    if "AuthenticationError" not in said:
        raise no_cluster(address, said.splitlines()[-1])
    if not _health(address, "token")[0]:
        raise ConfigError(
            f"this machine must have the token of the cluster at {address}: it has another or none; copy "
            "~/.ray/auth_token from a machine of the cluster"
        )


def _health(address: str, mode: str) -> tuple[bool, str]:
    """What Ray's own look at a cluster says, with a token or without: whether it was let in, and its words."""
    command = [str(Path(sys.executable).with_name("ray")), "health-check"]
    command += [] if address == "auto" else ["--address", address]
    environment = {**os.environ, "RAY_AUTH_MODE": mode}
    try:
        told = subprocess.run(  # noqa: S603 - Ray's own command
            command, env=environment, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer in {SECONDS_TO_ANSWER:g} s"
    return told.returncode == 0, told.stderr.strip() or "it says nothing"


def no_cluster(address: str, said: str) -> ConfigError:
    """The error of an address where no cluster takes work."""
    said = textwrap.shorten(said, MOST_LETTERS, placeholder=" ...")
    return ConfigError(f"--address must be a Ray cluster that runs: {address}: {said}; start it, or give another")
