"""Everything that the doctor can find, with the mend. The table in the hand-book is made from this.

A place such as `{device}` is filled with what was seen. The order is that of the hand-book.
"""

from firmware.doctor.check import Finding, Verdict

OK, WARNING, FAULT = Verdict.OK, Verdict.WARNING, Verdict.FAULT

# --- settings and board file -------------------------------------------------------------------------

SETTINGS_READ = Finding("settings", OK, "{file}: lanes {lanes}; readers: {readers}; board {board}")
NO_READER = Finding(
    "settings",
    WARNING,
    "lane {lane} has no reader",
    "write [[lane.reader]] below it, unless its codes come from elsewhere",
)
FAKE_BOARD = Finding(
    "board",
    WARNING,
    "the board is `fake`: it plays turnstiles, and no pin is switched",
    'set [board] name = "gpio" and file = "/etc/gatepost/board.toml"',
)
BOARD_READ = Finding("board", OK, "{file}: factory {factory}, lanes {lanes}, {pins} pins")
BOARD_REFUSED = Finding("board", FAULT, "{problem}", "mend the board file: the gate does not start with it")
BENCH_FACTORY = Finding(
    "board",
    WARNING,
    "the factory is `mock`: a bench without pins",
    'set factory = "lgpio" in the board file before people come',
)
HAZARD = Finding("board", FAULT, "{hazard}", "change the wiring, and then the board file")
CAUTION = Finding("board", WARNING, "{caution}", "better before people come; the gate works without")

# --- pins --------------------------------------------------------------------------------------------

CHIPS = Finding("pins", OK, "{chips}")
NO_CHIP = Finding(
    "pins",
    FAULT,
    "this machine has no GPIO chip",
    "on a Pi: use the kernel of Raspberry Pi OS; elsewhere there are no pins",
)
NO_CHIP_NEEDED = Finding("pins", OK, "no GPIO chip here, and none is asked for")
WRONG_CHIP = Finding(
    "pins",
    FAULT,
    'no GPIO chip is called "{chip}"; there are {chips}',
    "write the right one as chip in the board file",
)
CHIP_CLOSED = Finding(
    "pins",
    FAULT,
    "{device} belongs to the group {group}, and may not be opened by {user}",
    "its group is to be gpio (our udev rules), with the gate's user in it (usermod -aG gpio); start the gate "
    "again",
)
CHIP_SILENT = Finding(
    "pins",
    FAULT,
    "{device} cannot be asked: {why}",
    "see dmesg; a Pi that was just updated wants a restart",
)
PIN_MISSING = Finding(
    "pins", FAULT, "{part} is not on chip {chip}, which has {lines} lines", "use another pin"
)
PIN_TAKEN = Finding(
    "pins",
    FAULT,
    "{part} is in use by {who}",
    "end that program, or take its overlay out of config.txt (1-wire, SPI, I2C, UART, a fan), or use "
    "another pin",
)
PINS_FREE = Finding("pins", OK, "{count} pins are free for the gate")
PINS_GATE = Finding("pins", OK, "{count} pins are held by the gate that runs")
FACTORY_FAILS = Finding(
    "pins",
    FAULT,
    "the pin factory cannot be opened: {problem}",
    "as it says; the gate does not start with it",
)
FACTORY_OPENS = Finding("pins", OK, "{factory} opens the chip")

# --- readers -----------------------------------------------------------------------------------------

READER_THERE = Finding("reader", OK, "lane {lane}: {device}{product} is there")
READER_MISSING = Finding(
    "reader",
    FAULT,
    "lane {lane}: {device} is not there; found: {found}",
    "check cable and hub, or write the right name into [[lane.reader]]",
)
READER_CLOSED = Finding(
    "reader",
    FAULT,
    "lane {lane}: {device} belongs to the group {group}, and may not be read by {user}",
    "its group is to be {wanted} (our udev rules), with the gate's user in it (usermod -aG {wanted}); start "
    "the gate again",
)
READER_NO_DEVICE = Finding(
    "reader",
    FAULT,
    "lane {lane}: {device} is no device that a scanner could be",
    "name what appears below /dev/serial/by-id or /dev/input/by-id when it is plugged in",
)
READER_WANDERS = Finding(
    "reader",
    WARNING,
    "lane {lane}: {device} changes with the order of plugging",
    "name it by its link below /dev/serial/by-id or /dev/input/by-id",
)
READER_MOUSE = Finding(
    "reader",
    FAULT,
    "lane {lane}: {device} ({product}) has no keys for letters and digits: a mouse, a button, a remote?",
    "name the scanner instead",
)
READER_KEYBOARD = Finding(
    "reader",
    WARNING,
    "lane {lane}: {device} ({product}) looks like a keyboard for people, not like a scanner",
    "name the scanner instead; if it is one, its answer to gatepost doctor --read counts",
)
READER_TWINS = Finding(
    "reader",
    FAULT,
    "lane {lane}: {count} readers fit {device}: {found}",
    "give them serial numbers (the scanner's own set-up), or name each by its place: /dev/serial/by-path or "
    "/dev/input/by-path",
)
READERS_ALIKE = Finding(
    "reader",
    WARNING,
    "{count} readers are alike ({product}) and share the name {device}: which one it is, is luck",
    "name each by its place: /dev/serial/by-path or /dev/input/by-path",
)
READER_LINES = Finding("reader", OK, "lane {lane}: lines from {device}")
READER_UNUSED = Finding("reader", OK, "not in the settings: {device}{product}")
SHARED_READER = Finding(
    "reader",
    FAULT,
    "lane {lane}: {device} is the same reader as that of lane {other}",
    "a reader belongs to one lane: name the other one's own",
)

# --- who runs it, what is installed ------------------------------------------------------------------

IS_ROOT = Finding(
    "user",
    WARNING,
    "you are root, who may everything: this says nothing about the gate's user",
    "run it as that user: sudo -u gatepost gatepost doctor ...",
)
IN_GROUPS = Finding("user", OK, "{user}, in the groups {groups}")
NOT_IN_GROUPS = Finding(
    "user",
    WARNING,
    "{user} is not in the groups {groups}",
    "usermod -aG {groups} for the gate's user, then start the gate again",
)
LIBRARIES_THERE = Finding("library", OK, "what {kinds} readers need is installed")
LIBRARY_MISSING = Finding(
    "library", FAULT, "{library} is not installed, which {kind} readers need", 'pip install "gatepost[gate]"'
)
READER_REFUSED = Finding(
    "library", FAULT, "lane {lane}: {problem}", "as it says; the gate does not start with it"
)

# --- the gate that runs, stores ----------------------------------------------------------------------

GATE_RUNS = Finding("gate", OK, "a gate is running on {folder} (process {process})")
GATE_RESTS = Finding("gate", OK, "no gate is running on {folder}")
NO_DATA_ASKED = Finding("stores", OK, "not looked at: name the gate's folder with --data")
NO_DATA_YET = Finding("stores", OK, "{folder}: not there yet, the first start makes it")
DATA_CLOSED = Finding(
    "stores",
    FAULT,
    "{folder} may not be looked into by {user}",
    "run as its owner: sudo -u {owner}; if that is not the gate's user: chown",
)
DATA_UNWRITABLE = Finding(
    "stores", FAULT, "{folder} cannot be written by {user}", "chown it to the gate's user"
)
JOURNAL_GOOD = Finding("journal", OK, "{rows} rows, the newest of epoch {epoch}; {proved} proved")
JOURNAL_NONE = Finding("journal", OK, "none yet")
JOURNAL_DAMAGED = Finding(
    "journal",
    FAULT,
    "{problem}",
    "copy the data folder away; the next start sets the journal aside whole and begins a new one; doubt the "
    "card",
)
JOURNAL_SHORT = Finding(
    "journal",
    FAULT,
    "it ends at row {last}, but this gate had written row {known}",
    "was an older copy put back? Then put the newest back, before anybody enters twice; else doubt the card",
)
JOURNAL_UNREADABLE = Finding(
    "journal", FAULT, "{problem}", "see whether the disk answers, and run as its owner"
)
JOURNAL_ASIDE = Finding(
    "journal",
    WARNING,
    "set aside as damaged: {files}",
    "copy them away, doubt the card, and remove them when nobody needs them any more",
)
CATALOGUE_GOOD = Finding("catalogue", OK, "{tickets} tickets in {build}, read from end to end")
CATALOGUE_OUTSIDE = Finding(
    "catalogue",
    WARNING,
    "{build} was only looked at from outside, because it belongs to {owner}",
    "run as its owner: sudo -u {owner}",
)
CATALOGUE_NONE = Finding("catalogue", WARNING, "no list of tickets yet: nobody gets in", "gatepost import")
CATALOGUE_DAMAGED = Finding(
    "catalogue",
    FAULT,
    "{problem}",
    "import the list again, or let the bridge send it; doubt the card",
)
CATALOGUE_ASIDE = Finding(
    "catalogue",
    WARNING,
    "set aside as damaged: {files}",
    "doubt the card, and remove them when nobody needs them any more",
)
KEY_BAD = Finding("catalogue", FAULT, "{problem}", "as it says; the gate does not start like this")
KEY_THERE = Finding("signed codes", OK, "event {event} of {account}: its public key is there")
KEY_MISSING = Finding(
    "signed codes",
    WARNING,
    "event {event} of {account}: signatures cannot be checked: {why}",
    "start the gate once with the bridge there; the bridge says at its start whether it has the key",
)
KEY_WANTED = Finding(
    "signed codes",
    FAULT,
    'event {event} of {account}: with signature = "require" nobody gets in: {why}',
    "start the gate once with the bridge there; the bridge says at its start whether it has the key",
)

# --- the machine -------------------------------------------------------------------------------------

MACHINE = Finding("machine", OK, "{model}, Linux {kernel}, {bits} bit")
ROOM = Finding("disk", OK, "{free} MiB free where {folder} is; the reserve of {rows} rows has its place")
ROOM_SHORT = Finding(
    "disk",
    FAULT,
    "{free} MiB free where {folder} is, and the reserve of {rows} rows wants {wanted} MiB",
    "free {more} MiB, and start the gate again",
)
ROOM_SCARCE = Finding(
    "disk",
    WARNING,
    "{free} MiB free where {folder} is: little for a night",
    "remove what is not needed (old journals that were set aside, logs)",
)
READ_ONLY = Finding(
    "disk",
    FAULT,
    "{mount} is read-only",
    "dmesg says why; a card that fails goes read-only: change it. An overlay: raspi-config, overlay file "
    "system off",
)
NO_BARRIER = Finding(
    "disk",
    FAULT,
    "{mount} is mounted with {option}: what was written may be lost in a power cut",
    "take it out of /etc/fstab, and restart",
)
VANISHES = Finding(
    "disk",
    FAULT,
    "{mount} is {kind}: everything in it is gone after a restart",
    "put the data on the card or a disk (--data)",
)
MAY_VANISH = Finding(
    "disk",
    WARNING,
    "{mount} is an overlay: perhaps everything in it is gone after a restart",
    "put the data on a disk of its own (--data), or raspi-config, overlay file system off",
)
MEMORY = Finding("memory", OK, "{free} of {total} MiB available")
MEMORY_SCARCE = Finding(
    "memory",
    WARNING,
    "only {free} of {total} MiB available",
    "end what else runs here (a desktop is not needed)",
)
MEMORY_SHORT = Finding(
    "memory",
    FAULT,
    "only {free} of {total} MiB available: the gate may be ended",
    "end what else runs here (a desktop is not needed)",
)
MEMORY_UNKNOWN = Finding("memory", OK, "this machine does not say (no /proc/meminfo)")
CLOCK_GOOD = Finding("clock", OK, "synchronised: {now} UTC{battery}")
CLOCK_LOOSE = Finding(
    "clock",
    WARNING,
    "not synchronised, {now} UTC{battery}: unless the gate knew the time before, {policy}",
    "connect the network for NTP (timedatectl), and fit a clock with a battery",
)
SUPPLY_GOOD = Finding("supply", OK, "no under-voltage and no throttling since power-on")
SUPPLY_UNKNOWN = Finding("supply", OK, "not here: only a Pi watches its supply")
UNDER_VOLTAGE = Finding(
    "supply",
    FAULT,
    "the voltage is too low at this moment",
    "use the supply made for this Pi, a short cable, and feed relays and lamps from a supply of their own",
)
WAS_UNDER_VOLTAGE = Finding(
    "supply",
    WARNING,
    "the voltage was too low since power-on",
    "use the supply made for this Pi, a short cable, and feed relays and lamps from a supply of their own",
)
THROTTLED = Finding(
    "supply", WARNING, "the processor is slowed down at this moment: {why}", "cool it, and see the supply"
)
WAS_THROTTLED = Finding(
    "supply",
    WARNING,
    "the processor was slowed down since power-on: {why}",
    "cool it, and see the supply",
)
COOL = Finding("heat", OK, "{degrees} °C ({zone})")
WARM = Finding(
    "heat", WARNING, "{degrees} °C ({zone}): in the sun it will be more", "let air in, or fit a heat sink"
)
HOT = Finding(
    "heat", FAULT, "{degrees} °C ({zone}): the processor slows down from 80 on", "shade it, let air in"
)
HEAT_UNKNOWN = Finding("heat", OK, "not here: this machine has no thermometer that it shows")

LOOK_FAILED = Finding(
    "doctor",
    FAULT,
    "the look at {thing} broke off: {problem}",
    "see whether that is readable at all; else please report it, with this line",
)

# --- the network -------------------------------------------------------------------------------------

NO_BROKER = Finding("broker", OK, "none in the settings: nothing is sent")
BROKER_ANSWERS = Finding("broker", OK, "{broker} accepts a connection{tls}")
BROKER_FAILS = Finding(
    "broker",
    WARNING,
    "{problem}",
    "as it says; without a broker the gate works on, and rows wait in the journal",
)
FILE_UNREADABLE = Finding(
    "broker", FAULT, "{problem}", "check the path, and that the gate's user may read it: chown, chmod 600"
)
KEY_OPEN = Finding("broker", WARNING, "{file}: mode {mode} lets others read it", "chmod 600 {file}")
CERTIFICATE_GOOD = Finding("broker", OK, "{file}: valid until {until}")
CERTIFICATE_EXPIRED = Finding(
    "broker",
    FAULT,
    "{file}: valid until {until} only: it has expired",
    "make a new certificate, or set the clock",
)
CERTIFICATE_ENDS = Finding(
    "broker", WARNING, "{file}: valid until {until} only", "make a new certificate before that"
)
CERTIFICATE_EARLY = Finding(
    "broker", FAULT, "{file}: not valid before {since}", "set the clock, or make a new certificate"
)
CERTIFICATE_NONE = Finding(
    "broker", FAULT, "{file}: holds no certificate that can be read", "it must be PEM: copy it once more"
)

# --- parts at work (--fire, --read, --calibrate) -----------------------------------------------------

ALARM_ACTIVE = Finding(
    "alarm",
    FAULT,
    "the alarm contact is active: all lanes are free, and nothing is fired",
    "end the alarm; if there is none: wire broken, or contact (normally_closed or normally_open) set wrong",
)
TAMPER_ACTIVE = Finding(
    "tamper", WARNING, "the tamper contact is active", "close the housing; else see its wire and contact"
)
CONTACTS_QUIET = Finding("alarm", OK, "{contacts} at rest")
HOLDS_AT_REST = Finding("relay", OK, "lane {lane}: locked while nothing is fired")
FREE_AT_REST = Finding(
    "relay",
    FAULT,
    "lane {lane}: somebody could pass while nothing was fired",
    'turn active of its line over ("high" to "low" or back): a relay board that is active low pulls in at '
    "rest; else the relay's contact is on the wrong side (NO, NC)",
)
LOCKED_WHEN_FIRED = Finding(
    "relay",
    FAULT,
    "lane {lane}, {way}: nobody could pass while it was fired",
    "did the relay click? No: pin, supply, active. Yes: its contact and the turnstile's own input",
)
NO_PASSAGE = Finding(
    "relay",
    WARNING,
    "lane {lane}, {way}: fired, and the sensor saw nobody pass",
    "once more, and walk; else did the relay click? No: pin, supply, active. Yes: its contact, the "
    "turnstile's own input, the sensor",
)
PASSED = Finding("relay", OK, "lane {lane}, {way}: fired, and {seen}")
FIRED = Finding("relay", OK, "lane {lane}, {way}: fired; whether anybody could pass, nobody said")
WRONG_WAY = Finding(
    "sensor",
    FAULT,
    "lane {lane}: fired {way}, and the sensor saw somebody go {seen}",
    "exchange in_pin and out_pin of the sensor, or the pins of the two openings",
)
SENSOR_FAULT = Finding(
    "sensor", FAULT, "lane {lane}: {problem}", "see its wire, its contact and what stands in it"
)
STAYS_OPEN = Finding(
    "relay",
    FAULT,
    "lane {lane}, {way}: somebody could still pass after its end",
    "see drive, pulse_ms and free_by against the turnstile's data sheet; a relay that sticks: change it",
)
LAMP_RIGHT = Finding("lamp", OK, "lane {lane}: {colour}")
LAMP_WRONG = Finding(
    "lamp", FAULT, "lane {lane}: {colour} was not seen", "see its pin, active, wire and supply"
)
LAMP_SHOWN = Finding("lamp", OK, "lane {lane}: showed {colours}; whether it was seen, nobody said")
BUZZER_RIGHT = Finding("buzzer", OK, "lane {lane}: heard")
BUZZER_WRONG = Finding("buzzer", FAULT, "lane {lane}: was not heard", "see its pin, active, wire and supply")
BUZZER_SOUNDED = Finding("buzzer", OK, "lane {lane}: sounded; whether it was heard, nobody said")
PART_FAILS = Finding("parts", FAULT, "lane {lane}, {part}: {problem}", "see its wire and the board file")
SKIPPED = Finding(
    "parts", WARNING, "lane {lane}, {part}: not fired, as you said", "fire it before people come"
)
CODE_READ = Finding("code", OK, "lane {lane}, {reader}: {length} characters: {code}")
CODE_UNREADABLE = Finding(
    "code", FAULT, "lane {lane}, {reader}: what came cannot be used: {reason}", "hand-book, the scanner"
)
CODE_NONE = Finding(
    "code",
    FAULT,
    "lane {lane}, {reader}: no code came within {seconds} s",
    'see its light and cable; a scanner without terminator needs terminator = "none": gatepost doctor '
    "--calibrate",
)
CALIBRATED = Finding("code", OK, "lane {lane}, {reader}: reads the code right as it is set")
TO_BE_SET = Finding(
    "code",
    WARNING,
    "lane {lane}, {reader}: would not be read right with the settings that it has",
    "write into its [[lane.reader]]: {settings}",
)
NOT_CALIBRATED = Finding(
    "code", FAULT, "lane {lane}, {reader}: {problem}", "as it says, and then --calibrate once more"
)
REMARK = Finding(
    "code", WARNING, "lane {lane}, {reader}: {remark}", "it works like this; better set it otherwise"
)
TYPED_BY_HAND = Finding(
    "code",
    WARNING,
    "lane {lane}, {reader}: {pause} ms from key to key: is this a keyboard that somebody types on?",
    "name the scanner instead; a scanner that types so slowly can be set to be quicker",
)
READER_LOST = Finding("code", FAULT, "lane {lane}, {reader}: {problem}", "as it says")

FINDINGS: tuple[Finding, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Finding)
)
