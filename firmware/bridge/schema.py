"""The tables of the ledger of one venue, for SQLite and PostgreSQL alike.

Rows come first and are never changed; everything else is derived from them in the order of each gate's
chain, or comes from a vendor. Times are UTC milliseconds. A row is known by (gate, row, digest): two rows of
one number with two digests are a fork, and both are kept.

A branch is a stretch of a gate's chain without a gap, named by the line in `tip` that tells its end. A gate
has one; each fork, new journal or gap makes another.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

# SQLite counts up by itself, and needs no index, only where a key is an INTEGER (which has 64 bits there);
# elsewhere it has to be a big one.
COUNTING = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

gate = Table(
    "gate",
    metadata,
    Column("id", COUNTING, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("rows", BigInteger, nullable=False),  # how many are kept: nobody has to count a large table
)

row = Table(
    "journal_row",
    metadata,
    Column("gate", ForeignKey(gate.c.id), primary_key=True),
    Column("row", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("code", Text),
    Column("received_ms", BigInteger, nullable=False),
    Column("branch", BigInteger),  # null while the rows in front of it are missing
)

# Up to where a chain of rows has no gap: what a receipt may say. More than one at a gate: a fork, a new
# journal under an old name, or a ledger that lost rows. The branch begins after (`began_row`,
# `began_digest`): a row of its `parent`; or without a parent the start of a journal (0), or a row that the
# ledger does not have.
tip = Table(
    "tip",
    metadata,
    Column("id", COUNTING, primary_key=True),
    Column("gate", ForeignKey(gate.c.id), nullable=False, index=True),
    Column("row", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("parent", BigInteger),
    Column("began_row", BigInteger, nullable=False),
    Column("began_digest", LargeBinary, nullable=False),
)

# Rows that came before the rows in front of them: one line for each batch.
loose = Table(
    "loose",
    metadata,
    Column("gate", ForeignKey(gate.c.id), primary_key=True),
    Column("after", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", LargeBinary, primary_key=True),
    Column("upto", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
)

# One start of one gate. `offset_ms` is what to add to its monotonic times to get true UTC, once it is known.
epoch = Table(
    "epoch",
    metadata,
    Column("id", COUNTING, primary_key=True),
    Column("gate", ForeignKey(gate.c.id), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("random", Text, nullable=False),  # "" where its first row is missing
    Column("branch", BigInteger, nullable=False),
    Column("offset_ms", BigInteger),
    Column("over", Boolean, nullable=False),  # a later epoch began: nothing more will be known
    UniqueConstraint("gate", "epoch", "random"),
)

# An admission that a gate recorded; `id` is the change number of that movement. `state`: open, settled,
# dropped (lapsed or void), refused (a scan of a known ticket that was let through nowhere, kept here only
# where its vendor wants to hear of it), or unanswered (an ask without an answer that let nobody in).
admission = Table(
    "admission",
    metadata,
    Column("id", COUNTING, primary_key=True, autoincrement=False),
    Column("gate", ForeignKey(gate.c.id), nullable=False),
    Column("row", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("branch", BigInteger, nullable=False),
    Column("epoch", ForeignKey(epoch.c.id), nullable=False),
    Column("lane", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("account", Text, nullable=False),  # the vendor account it is for; "" where nobody is told
    Column("code", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("perimeters", Text, nullable=False),  # joined by commas
    Column("verdict", Text, nullable=False),
    Column("reentry", Text, nullable=False),
    Column("monotonic_ms", BigInteger, nullable=False),
    Column("utc_ms", BigInteger, nullable=False),  # as the gate said it
    Column("trusted", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    # The row of the scan that it belongs to: another one where a vendor was asked. 0 in older lines.
    Column("scan", BigInteger, nullable=False, server_default="0"),
    # Who let it in: "gate" (the vendor is told), "doubt" (likewise, but an ask without an answer came
    # before), "vendor" (which knows), or the verdict with which the vendor refused it too late.
    Column("decided", Text, nullable=False, server_default="gate"),
    UniqueConstraint("gate", "row", "digest"),
)

# What a vendor must be told, in the order of `id`, which is the change number of the movement that settled
# the admission; one at a time for each ticket of an account. `state`: untimed (the clock of that boot is not
# known yet), due, claimed, done.
work = Table(
    "work",
    metadata,
    Column("id", COUNTING, primary_key=True, autoincrement=False),
    Column("admission", ForeignKey(admission.c.id), nullable=False, unique=True),
    Column("account", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at_utc_ms", BigInteger, nullable=False),  # restated where the gate's clock was not trusted
    Column("state", Text, nullable=False),
    Column("doubt", Boolean, nullable=False),  # it was sent, and no answer is known: look before sending
    Column("attempts", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("lease_ms", BigInteger, nullable=False),
    Column("result", Text, nullable=False),  # "", accepted, refused, uncertain
    Column("verdict", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Column("told", Boolean, nullable=False),  # the outcome was sent to the gate
    Index("work_due", "account", "state", "id"),
    Index("work_of_ticket", "account", "subject", "id"),
    Index("work_untold", "state", "told", "id"),
)

# Asks that let nobody in, and that their vendor said yes to too late: at `due_ms` somebody looks whether the
# ticket came in since. Then the line is dropped.
credit = Table(
    "credit",
    metadata,
    Column("admission", ForeignKey(admission.c.id), primary_key=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
)

# What a person should know of, once each: forks, gaps, double admissions, uncertain scans.
report = Table(
    "report",
    metadata,
    Column("id", COUNTING, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),  # what makes it the same report
    Column("text", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("kind", "key"),
)

# How many reports of a kind one gate has brought about: they are bounded, whatever it sends.
report_count = Table(
    "report_count",
    metadata,
    Column("gate", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# The vendors' tickets, as last heard. `ticket_id` begins with the account and a colon. `number` is that of
# its last change that gates must hear of.
ticket = Table(
    "ticket",
    metadata,
    Column("ticket_id", Text, primary_key=True),
    Column("account", Text, nullable=False, index=True),
    Column("code", Text, nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("sector", Text, nullable=False),
    Column("gate", Text, nullable=False),
    Column("valid_from_ms", BigInteger),
    Column("valid_until_ms", BigInteger),
    Column("inside", Boolean),  # what the vendor says; null where it says nothing
    Column("moved_utc_ms", BigInteger),  # when the vendor saw it move last
    Column("seen", BigInteger, nullable=False),  # the full run that had it last
    Column("number", BigInteger, nullable=False, index=True),
    Column("gone", Boolean, nullable=False),
)

# Every movement that gates note: those of gates, and those that only a vendor knows of (`gate` null).
movement = Table(
    "movement",
    metadata,
    Column("number", COUNTING, primary_key=True, autoincrement=False),
    Column("gate", ForeignKey(gate.c.id)),
    Column("row", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("admission", BigInteger, nullable=False),  # the admission's row
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("direction", Text, nullable=False),
    Column("perimeters", Text, nullable=False),
    Column("utc_ms", BigInteger, nullable=False),
    Column("spend", Text, nullable=False),
    Column("until_utc_ms", BigInteger, nullable=False),
)

# Devices as a vendor configured them, for one birth of their gate ("" for none yet). `kept` is what the
# vendor gave, as JSON, with all that it gave before under a name of the ledger's own; `worker` is the bridge
# that is at it, until `lease_ms`.
device = Table(
    "device",
    metadata,
    Column("account", Text, primary_key=True),
    Column("gate", Text, primary_key=True),
    Column("perimeter", Text, primary_key=True),
    Column("birth", Text, nullable=False),
    Column("kept", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("lease_ms", BigInteger, nullable=False),
)

# Asks that were sent to a vendor, where several bridges share the gates: so that one that comes to two of
# them is sent once. Kept for an hour.
asked = Table(
    "asked",
    metadata,
    Column("gate", Text, primary_key=True),
    Column("scan", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
)

# Small numbers and words by name: the last change number, the feed's name, how far an account was read.
state = Table(
    "state", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
