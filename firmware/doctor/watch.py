"""Shows live what contacts, sensors and readers see, until Ctrl-C."""

from collections.abc import Callable
from datetime import datetime

from firmware.config import Settings
from firmware.doctor.bench import Bench, Seen
from firmware.doctor.codes import REASONS, Readers, shown
from firmware.doctor.readers import Wanted
from firmware.signals import visible
from hal.ports import Code, Read

TEXT_LENGTH_MAX = 400  # of a line: a long code is cut
LOOK_S = 1.0  # nothing seen: whether it is over is asked this often


def watch(
    bench: Bench, settings: Settings, say: Callable[[str], None], over: Callable[[], bool] = lambda: False
) -> None:
    """Say everything, a line each, until `over`. Raises what making a reader raises."""

    def tell(reader: Wanted, news: Read | str | None) -> None:
        bench.seen.put(Seen(reader.lane, f"reader {reader.named}", words(news)))

    with Readers(settings, tell):
        say("press, push and scan; what is seen shows here, Ctrl-C ends")
        while not over():
            for seen in bench.news(LOOK_S, lambda _: True):
                say(line_of(seen, datetime.now()))


def words(news: Read | str | None) -> str:
    """What a reader says."""
    if news is None:
        return "works"
    if isinstance(news, str):
        return news
    if isinstance(news, Code):
        return f"{len(news.text)} characters: {shown(news.text)}"
    return REASONS[news.reason]


def line_of(seen: Seen, at: datetime) -> str:
    """One line: the time, whose part, and what it saw."""
    where = f"lane {seen.lane}, {seen.part}" if seen.lane else seen.part
    return visible(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {where}: {seen.what}", TEXT_LENGTH_MAX)
