"""`gatepost fleet …` and `gatepost enrol`: what the engineer does with her fleet's folder."""

import argparse
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from firmware.bundle import BundleUnusable
from firmware.command_line import DONE, FINDING, WrongUse, number
from firmware.config.values import NAME
from firmware.signing import Role

PORT_NUMBER = number(1, 65_535, "port of TCP")
ETC = Path("/etc/gatepost")
TELL_OPERATORS = "gatepost settings apply '*' --operators"


def add_fleet(parser: argparse.ArgumentParser, complain: Callable[[str], None]) -> None:
    """`gatepost fleet`."""
    from firmware.fleet.folder import ENROL_PORT, PORT

    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(
        name: str, help_text: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        described = actions.add_parser(
            name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".", allow_abbrev=False
        )
        described.add_argument("folder", type=Path, metavar="DIR", help="the fleet's folder; keep it secret")
        described.set_defaults(run=run)
        return described

    init = action("init", "make a fleet: its authority, and what its brokers and its bridge need", run_init)
    init.add_argument("--venue", required=True, type=name_of, metavar="NAME", help="as in gate.toml: arena")
    init.add_argument("--broker", required=True, type=host_of, metavar="HOST", help="the venue's broker")
    init.add_argument(
        "--port", type=PORT_NUMBER, default=PORT, metavar="N", help="of the broker (default %(default)s)"
    )
    init.add_argument(
        "--enrol-port",
        type=PORT_NUMBER,
        default=ENROL_PORT,
        metavar="N",
        help="of the broker, for gates that have no certificate yet (default %(default)s)",
    )
    init.add_argument(
        "--cloud",
        type=host_of,
        metavar="HOST",
        help="the cloud's broker, where there is one: operators and this fleet connect there",
    )
    init.add_argument(
        "--cloud-port", type=PORT_NUMBER, default=PORT, metavar="N", help="(default %(default)s)"
    )

    operator = action("operator", "make keys for somebody who may give orders", run_operator)
    operator.add_argument("name", type=name_of, metavar="NAME", help="ann")
    operator.add_argument(
        "--role",
        choices=[role.value for role in Role],
        required=True,
        help="a steward opens a lane once, a supervisor does everything",
    )
    broker = action(
        "broker", "make anew what brokers, bridge and serve connect with, before it ends", run_broker
    )
    broker.add_argument(
        "--name",
        type=host_of,
        action="append",
        default=[],
        metavar="HOST",
        help="one more name or address of the venue's broker; may be repeated",
    )
    action("show", "show operators, gates, and what ends when", run_show)
    revoke = action("revoke", "let a lost gate, or somebody who left, in no more", run_revoke)
    revoke.add_argument("gate", nargs="?", type=name_of, metavar="GATE", help="the gate")
    revoke.add_argument("--operator", type=name_of, metavar="NAME", help="or the operator")
    action("rotate-key", "make the venue's key anew, because a gate was lost", run_rotate_key)
    action("serve", "give gates their certificates, until Ctrl-C", partial(run_serve, complain=complain))


def add_enrol(parser: argparse.ArgumentParser) -> None:
    """`gatepost enrol`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the fleet's folder")
    parser.add_argument("gate", type=name_of, metavar="GATE", help="as in its gate.toml: north")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="its gate.toml")
    parser.add_argument("--board", type=Path, metavar="FILE", help="its board.toml, where its board has one")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the bundle: gatepost.tar")
    parser.add_argument(
        "--etc",
        type=Path,
        default=ETC,
        metavar="DIR",
        help="where its settings will lie (default %(default)s)",
    )
    parser.set_defaults(run=run_enrol)


def add_take_up(parser: argparse.ArgumentParser) -> None:
    """`gatepost take-up`."""
    parser.add_argument("--bundle", type=Path, required=True, metavar="FILE", help="from gatepost enrol")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the gate's data")
    parser.add_argument(
        "--etc", type=Path, default=ETC, metavar="DIR", help="for gate.toml, board.toml (default %(default)s)"
    )
    parser.add_argument(
        "--owner",
        default="gatepost",
        metavar="USER",
        help="whose the data is, where root runs this (default %(default)s)",
    )


# --- arguments --------------------------------------------------------------------------------------------


def name_of(text: str) -> str:
    """A name that may stand in a topic."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: 1 to 32 of a-z, 0-9, _ and -")
    return text


def host_of(text: str) -> str:
    """The name or address of a machine."""
    from firmware.config.values import Host

    if fault := Host().fault(text):
        raise argparse.ArgumentTypeError(fault)
    return text


# --- what they do -----------------------------------------------------------------------------------------


def run_init(arguments: argparse.Namespace) -> int:
    """Make a fleet, and say what comes next."""
    from firmware.fleet import init
    from firmware.fleet.folder import Fleet

    folder: Path = arguments.folder
    fleet = Fleet(
        arguments.venue,
        arguments.broker,
        arguments.port,
        arguments.enrol_port,
        arguments.cloud or "",
        arguments.cloud_port,
    )
    init.make(folder, fleet, datetime.now(UTC))
    print(
        f"{folder}: a fleet for venue {fleet.venue}. Who has this folder can make gates: keep it, and a copy."
    )
    print(f"{folder / 'broker'}: for {fleet.host}, to /etc/mosquitto/gatepost")
    if fleet.cloud:
        print(f"{folder / 'cloud'}: for {fleet.cloud}, to /etc/mosquitto/gatepost")
    print(f"{folder / 'bridge'}: for the bridge: certificates, and the venue's key for its data folder")
    print(f"next: gatepost fleet operator {folder} NAME --role supervisor")
    return DONE


def run_operator(arguments: argparse.Namespace) -> int:
    """Make keys for a person."""
    from firmware.fleet import init

    folder: Path = arguments.folder
    made = init.add_operator(folder, arguments.name, Role(arguments.role), datetime.now(UTC))
    print(f"{made.name} is a {made.role}, key {made.key}: {folder / 'operators'}/{made.name}.*")
    print(f"bundles from now on know this key; gates that are at work learn it with: {TELL_OPERATORS}")
    return DONE


def run_broker(arguments: argparse.Namespace) -> int:
    """Certificates of those that are no gates and no people."""
    from firmware.fleet import folder as stored
    from firmware.fleet import init

    folder: Path = arguments.folder
    init.renew(folder, arguments.name, datetime.now(UTC))
    fleet = stored.load(folder)
    print(f"{folder / 'broker'}: copy it to /etc/mosquitto/gatepost of {fleet.host}, and restart mosquitto")
    if fleet.cloud:
        print(
            f"{folder / 'cloud'}: copy it to /etc/mosquitto/gatepost of {fleet.cloud}, and restart mosquitto"
        )
    print(f"{folder / 'bridge'}: copy bridge.pem and bridge.key to the bridge, and restart it")
    return DONE


def run_show(arguments: argparse.Namespace) -> int:
    """The fleet, for people. Exit code 1 where something ends soon."""
    from firmware.fleet import show

    now = datetime.now(UTC)
    for line in show.lines(arguments.folder, now):
        print(line)
    soon = [*show.ending(arguments.folder, now)]
    for line in soon:
        print(line)
    return FINDING if soon else DONE


def run_revoke(arguments: argparse.Namespace) -> int:
    """End a gate's or an operator's certificates."""
    from firmware.fleet import enrol
    from firmware.fleet import folder as stored

    folder: Path = arguments.folder
    if (arguments.gate is None) == (arguments.operator is None):
        raise WrongUse("revoke what? name a gate, or --operator NAME")
    fleet, now = stored.load(folder), datetime.now(UTC)
    if arguments.gate:
        count = enrol.revoke_gate(folder, arguments.gate, now)
        print(f'gate "{arguments.gate}" is revoked: certificates {count}; its bundle counts no more')
    else:
        enrol.revoke_operator(folder, arguments.operator, now)
        print(f"{arguments.operator} is revoked; gates that are at work learn it with: {TELL_OPERATORS}")
    for place, host, lists in (
        ("broker", fleet.host, ("crl.pem", "enrol-crl.pem")),
        ("cloud", fleet.cloud, ("crl.pem",)),
    ):
        if host:
            paths = " and ".join(str(folder / place / name) for name in lists)
            print(
                f"still to do: copy {paths} to /etc/mosquitto/gatepost of {host}, and restart mosquitto there"
            )
    if arguments.gate:
        print(
            "still to do: give the venue a new key, because the lost card has the old one: "
            f"gatepost fleet rotate-key {folder} (deploy/fleet.md, When a gate is lost)"
        )
    return DONE


def run_rotate_key(arguments: argparse.Namespace) -> int:
    """A new venue key in the fleet's folder, and what has to be done with it."""
    from firmware.fleet import folder as stored
    from firmware.fleet.rotation import new_venue_key

    folder: Path = arguments.folder
    fleet, path = stored.load(folder), stored.Paths(folder).venue_key
    name = new_venue_key(folder)
    print(f"{path}: venue key {name}. Gates go on with the list they have; still to do, in this order:")
    print(
        f"1. gatepost order '{fleet.venue}/*' rotate_key --fleet {folder} --as NAME; every gate says {name}"
    )
    print(
        f"2. copy {path} to the bridge's computer, and there: gatepost rekey --key FILE --config … --data …"
    )
    print("3. a gate that was not connected: order it by its name when it is back; until then its list stays")
    return DONE


def run_serve(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Answer gates until SIGTERM or Ctrl-C."""
    from firmware.fleet import show
    from firmware.fleet.serve import Serving

    over = threading.Event()
    caught: list[int] = []

    def stop(number: int, *_: object) -> None:
        caught.append(number)
        over.set()

    def say(line: str) -> None:
        print(line, flush=True)

    for line in show.ending(arguments.folder, datetime.now(UTC)):
        complain(line)
    serving = Serving(arguments.folder, say, complain)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        serving.run(over)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + signal.SIGINT if signal.SIGINT in caught else DONE


def run_enrol(arguments: argparse.Namespace) -> int:
    """Make a gate's bundle."""
    from firmware.config import read_text
    from firmware.files import write_whole
    from firmware.fleet import enrol

    if arguments.out.is_dir():
        raise WrongUse(f"--out {arguments.out}: is a folder: name a file in it, such as gatepost.tar")
    if not arguments.out.absolute().parent.is_dir():
        raise WrongUse(f"--out {arguments.out}: there is no such folder: check the path")
    settings = read_text(arguments.settings)
    board = "" if arguments.board is None else read_text(arguments.board)
    try:
        bundle = enrol.bundle_for(
            arguments.folder, arguments.gate, settings, board, arguments.etc, datetime.now(UTC)
        )
    except BundleUnusable as error:
        raise WrongUse(str(error)) from None
    write_whole(arguments.out.absolute(), bundle)
    until = f"{datetime.now(UTC) + enrol.TOKEN_LIFE:%Y-%m-%d}"
    print(f'{arguments.out}: bundle of gate "{arguments.gate}", good once, until {until}')
    print("next: copy it as gatepost.tar to the boot partition of the gate's card, and delete it here")
    return DONE


def run_take_up(arguments: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """Put a bundle into use. Exit code 1 where all is done, but the bundle could not be removed."""
    from firmware.take_up import owner_of, take_up

    owner = owner_of(arguments.owner) if os.geteuid() == 0 else None
    taken = take_up(arguments.bundle, arguments.etc, arguments.data, owner)
    for line in taken.news:
        print(line)
    if taken.left:
        complain(taken.left)
    return FINDING if taken.left else DONE
