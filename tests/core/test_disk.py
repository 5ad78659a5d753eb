from firmware.core.effects import Tell, Unlock
from firmware.core.events import Cause, Recorded, RecordFailed
from firmware.core.states import Open, Standing
from firmware.core.ticket import Verdict
from tests.core.samples import IN, YES, asking, at, check, run, same


def test_a_disk_that_mended_itself_during_an_ask_lets_the_answered_ticket_in() -> None:
    failing = run(asking(), RecordFailed(at(100), 0))
    assert failing.standing.shut == (Cause.JOURNAL,)
    waiting = run(failing, YES)
    after = check(waiting, Recorded(at(600), YES.row), Unlock(IN), Tell(Verdict.ADMITTED, "welcome"))
    assert isinstance(after.state, Open)
    assert same(after.standing, Standing())
