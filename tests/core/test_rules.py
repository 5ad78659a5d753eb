from firmware.core.rules import judge
from firmware.core.ticket import Choice, Policy, Verdict
from tests.core.samples import OUT, SCAN, SETUP

MINDS_OLD_LISTS = Policy(catalogue_stale=Choice.REFUSE)


def test_an_old_list_refuses_entries_where_the_operator_minds() -> None:
    scan = SCAN._replace(stale=True)
    assert judge(SETUP, scan) is Verdict.ADMITTED
    assert judge(SETUP, scan._replace(policy=MINDS_OLD_LISTS)) is Verdict.CATALOGUE_STALE
    assert judge(SETUP, scan._replace(policy=MINDS_OLD_LISTS, stale=False)) is Verdict.ADMITTED


def test_an_old_list_holds_nobody_inside() -> None:
    scan = SCAN._replace(direction=OUT, stale=True, policy=MINDS_OLD_LISTS)
    assert judge(SETUP, scan) is Verdict.ADMITTED
