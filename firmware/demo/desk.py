"""What is entered on the terminal: codes for the lane that was chosen, and commands, which begin with `/`."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

from firmware.config.values import nearest, quoted, shown
from firmware.core.events import Order
from firmware.core.ticket import Direction
from firmware.demo.stage import Stage
from firmware.gate import Gate
from hal.fake import FakeBoard, Person
from hal.ports import Code, Read, Way

BY = "the keyboard of the demo"  # as the journal names who gave an order
Walks = Literal["through", "late", "backwards", "stays"]
WALKS: Mapping[str, Walks] = {word: word for word in get_args(Walks)}
HELP = """\
/lane NAME              the lane that codes and commands are for
/in, /out               the way that codes mean, at a lane that works both ways
/walk through, late, backwards or stays
                        what people do from now on when this lane opens
/open                   let one person through without a ticket
/free, /shut, /normal   free the lane, shut it, back to tickets
/alarm on, /alarm off   the contact of the fire alarm, which frees every lane
/quit                   end, as Ctrl-C does
//CODE                  a code that begins with /"""
NO_COMMANDS: Mapping[str, Callable[[str], str]] = {}


class Desk:
    """The keyboard's side of the gate. What a command did, or why it did nothing, is a sentence."""

    def __init__(
        self,
        stage: Stage,
        gate: Gate,
        board: FakeBoard,
        walk_ms: int,
        more: Mapping[str, Callable[[str], str]] = NO_COMMANDS,
        more_help: str = "",
    ) -> None:
        """People take `walk_ms` to begin to walk. `more` are the commands of the whole demo."""
        self.lane = board.lanes[0].name
        self._ways: dict[str, Way] = {}
        self._stage, self._gate, self._board, self._walk_ms = stage, gate, board, walk_ms
        self._commands: Mapping[str, Callable[[str], str]] = {
            "lane": self._choose,
            "in": lambda _: self._turn("in"),
            "out": lambda _: self._turn("out"),
            "walk": self._walk,
            "open": lambda _: self._order(Order.OPEN_ONCE),
            "free": lambda _: self._order(Order.FREE),
            "shut": lambda _: self._order(Order.SHUT),
            "normal": lambda _: self._order(Order.NORMAL),
            "alarm": self._alarm,
            "quit": self._quit,
            "help": lambda _: "\n".join(filter(None, (more_help, HELP))),
            **more,
        }

    @property
    def way(self) -> Way:
        """What a code means at the chosen lane."""
        ways = self._board.fakes[self.lane].ways
        return self._ways.get(self.lane, ways[0])

    def enter(self, read: Read) -> str:
        """A line was entered: hold the code to the lane, or do what the command says."""
        code = code_in(read)
        if code is not None:
            self._gate.scan(self.lane, code, self.way)
            return ""
        assert isinstance(read, Code), "only a text can be a command"
        return self.obey(read.text)

    def obey(self, text: str) -> str:
        """Do what a command says. It begins with `/`."""
        name, _, word = text[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            near = nearest(name, self._commands) or ": /help lists them"
            return f"no command is called {shown(name)}{near} (a code that begins with / is typed with two)"
        return command(word.strip())

    def _choose(self, word: str) -> str:
        lanes = self._board.fakes
        if word not in lanes:
            return f"no lane is called {shown(word)}: there are {', '.join(map(quoted, lanes))}"
        self.lane = word
        return f'codes are for lane "{word}" now'

    def _turn(self, way: Way) -> str:
        if way not in self._board.fakes[self.lane].ways:
            return f'lane "{self.lane}" does not serve "{way}"'
        self._ways[self.lane] = way
        return f'codes at lane "{self.lane}" mean "{way}" now'

    def _walk(self, word: str) -> str:
        walks = WALKS.get(word)
        if walks is None:
            return f"/walk is followed by {', '.join(WALKS)}"
        self._board.fakes[self.lane].turnstile.usual = Person(walks, self._walk_ms)
        return f'people at lane "{self.lane}": {walks}'

    def _order(self, order: Order) -> str:
        self._gate.order(self.lane, order, BY, Direction(self.way))
        return f'ordered for lane "{self.lane}": {order}'

    def _alarm(self, word: str) -> str:
        contact = self._board.alarm
        assert contact is not None, "the demo's board has one"
        match word:
            case "on":
                contact.press()
                return "the alarm is on: every lane is free"
            case "off":
                contact.release()
                return "the alarm is over"
            case _:
                return "/alarm is followed by on or off"

    def _quit(self, word: str) -> str:
        self._stage.stop()
        return ""


def code_in(read: Read) -> Read | None:
    """What is to be held to a reader: `None` for a command; of two slashes at the front one stays."""
    if not isinstance(read, Code) or not read.text.startswith("/"):
        return read
    return Code(read.text[1:]) if read.text.startswith("//") else None
