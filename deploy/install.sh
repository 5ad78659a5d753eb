#!/bin/sh
# Makes a gate of a Raspberry Pi (or any Debian 12 or later, 64 bit): packages, user, program, device rules, unit.
# It may be run again at any time, to bring a new release or to mend: what is right already stays as it is. Settings, board
# file and data are never touched, and a gate that runs is never stopped: that is for a moment when nobody stands there.
set -eu
umask 022  # whoever made the machine may have asked for less: user gatepost has to read what is laid out here

HELP='usage: install.sh [--wheel FILE] [--wheels DIR] [--no-apt] [--root DIR]

  --wheel FILE   the gatepost wheel; without it the only one in dist/ or in --wheels
  --wheels DIR   take every library from this folder instead of the network; they are trusted as they lie there
  --no-apt       leave Debian packages alone
  --root DIR     lay the files out below DIR and only say what else would be done; needs no root, changes nothing else'

# python3-venv                        makes /opt/gatepost
# gcc libc6-dev python3-dev           compile evdev, which has no ready-made package for a Pi
# libxkbcommon0 xkb-data libx11-data  layouts of scanners that type, and what dead keys type
PACKAGES='python3-venv gcc libc6-dev python3-dev libxkbcommon0 xkb-data libx11-data'
PROGRAM=/opt/gatepost

here=$(cd "$(dirname "$0")/.." && pwd)
wheel='' wheels='' root='' apt=yes

say() { printf 'install: %s\n' "$*"; }
refuse() { printf 'install: %s\n' "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --wheel | --wheels | --root)
            [ $# -ge 2 ] || refuse "$1 needs a value (see --help)"
            case $1 in --wheel) wheel=$2 ;; --wheels) wheels=$2 ;; --root) root=$2 ;; esac
            shift 2 ;;
        --no-apt) apt=no; shift ;;
        --help) printf '%s\n' "$HELP"; exit 0 ;;
        *) refuse "no option $1 (see --help)" ;;
    esac
done

# Everything that may be wrong is found before anything is changed.
[ -z "$root" ] || [ -d "$root" ] || refuse "--root $root: there is no such folder: make it first"
[ -z "$wheels" ] || [ -d "$wheels" ] || refuse "--wheels $wheels: there is no such folder: check the path"
[ -n "$root" ] || [ "$(id -u)" = 0 ] || refuse 'needs root to make a user and to write to /opt and /etc: sudo sh deploy/install.sh'
case $(uname -m) in
    aarch64 | x86_64) ;;
    *) refuse "this machine is $(uname -m): a gate needs a 64 bit system: install that of Raspberry Pi OS" ;;
esac
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    refuse 'needs Python 3.11 or later as python3: Debian 12 or later has it'
for file in requirements-gate.txt systemd/gate.service systemd/take-up.service deploy/60-gatepost.rules; do
    [ -f "$here/$file" ] || refuse "$here/$file is missing: run this script where the whole release lies"
done
if [ -z "$wheel" ]; then
    for found in "$here"/dist/gatepost-*.whl ${wheels:+"$wheels"/gatepost-*.whl}; do
        [ -f "$found" ] || continue
        [ -z "$wheel" ] || refuse "two wheels, $wheel and $found: choose with --wheel"
        wheel=$found
    done
fi
[ -n "$wheel" ] || refuse "no gatepost wheel: make one in a checkout: python3 -m pip wheel --no-deps --wheel-dir dist ."
[ -f "$wheel" ] || refuse "--wheel $wheel: there is no such file: check the path"

# Whatever changes more than files goes through here: with --root it is only said.
run() {
    if [ -n "$root" ]; then say "would run: $*"; else "$@"; fi
}

# The same for what only a machine that is up can be told; while a card is being prepared there is nobody to tell.
tell() {
    if [ -n "$root" ] || [ -e "$1" ]; then shift; run "$@"; fi
}

# put FILE TARGET MODE: a file as it has to be. True where it had to be written.
put() {
    if cmp -s "$1" "$root$2" 2>/dev/null; then return 1; fi
    install -D -m "$3" "$1" "$root$2"
    say "$2 written"
}

if [ "$apt" = yes ]; then
    missing=''
    for package in $PACKAGES; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        command -v apt-get >/dev/null || refuse "no apt-get here: install by hand what stands for:$missing, then use --no-apt"
        say "Debian packages:$missing"
        run apt-get -qq update
        # shellcheck disable=SC2086  # one word for each package
        run env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $missing
    fi
fi

# Raspberry Pi OS has all three groups, plain Debian lacks gpio.
for group in dialout gpio input; do
    getent group "$group" >/dev/null || { say "group $group"; run groupadd --system "$group"; }
done
getent passwd gatepost >/dev/null || {
    say 'user gatepost'
    run useradd --system --user-group --home-dir /var/lib/gatepost --no-create-home --shell /usr/sbin/nologin gatepost
}
# The unit would make it at its first start; lists may be imported before that.
[ -d "$root/var/lib/gatepost" ] || run install -d -o gatepost -g gatepost -m 0700 /var/lib/gatepost

# A virtual environment belongs to one Python: after an upgrade of the system it is made anew.
venv=$root$PROGRAM
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "$PROGRAM: a virtual environment"
    python3 -m venv --clear "$venv"
fi
libraries=$here/requirements-gate.txt
if [ -n "$wheels" ]; then
    libraries=$(mktemp)
    trap 'rm -f "$libraries"' EXIT
    # The versions stay; digests are of files as their makers published them, which one compiled here cannot have.
    sed -e 's/ *\\$//' -e '/^ *--hash=/d' "$here/requirements-gate.txt" >"$libraries"
    set -- --no-index --find-links "$wheels"
else
    set -- --require-hashes
fi
say "$PROGRAM: the locked libraries"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
"$venv/bin/python" -m pip install --quiet "$@" --requirement "$libraries" ||
    refuse 'the libraries could not be installed: see above; the gate that was here before is as it was, or half renewed: run this again'
if ! cmp -s "$wheel" "$venv/installed.whl"; then
    "$venv/bin/python" -m pip install --quiet --no-deps --no-index --force-reinstall "$wheel"
    install -m 0644 "$wheel" "$venv/installed.whl"
    say "$PROGRAM: $(basename "$wheel") installed"
fi
"$venv/bin/python" -c 'import evdev, gpiozero, lgpio, lmdb, msgspec, paho.mqtt, serial; import firmware.cli' ||
    refuse 'a library does not load: see above'

install -d -m 0755 "$root/etc/gatepost" "$root/usr/local/bin"
ln -sfn "$PROGRAM/bin/gatepost" "$root/usr/local/bin/gatepost"
if put "$here/deploy/60-gatepost.rules" /etc/udev/rules.d/60-gatepost.rules 0644; then
    tell /run/udev/control udevadm control --reload
    tell /run/udev/control udevadm trigger --subsystem-match=gpio --subsystem-match=input --subsystem-match=tty
fi
changed=no
if put "$here/systemd/gate.service" /etc/systemd/system/gate.service 0644; then changed=yes; fi
for unit in take-up.service gate-reboot.path gate-reboot.service; do
    if put "$here/systemd/$unit" "/etc/systemd/system/$unit" 0644; then changed=yes; fi
done
# The Pi's own watchdog (deploy/boot-config.txt) can be set to 15 s at most.
written=$(mktemp)
printf '%s\n' '# The kernel is started anew when systemd itself stands still.' '[Manager]' 'RuntimeWatchdogSec=14s' >"$written"
if put "$written" /etc/systemd/system.conf.d/60-gatepost.conf 0644; then changed=yes; fi
# The unit allows kinds of devices by names that the kernel knows only once their drivers are loaded.
printf '%s\n' '# Scanners on a serial line may be plugged in for the first time when the gate is at work already.' cdc_acm usbserial >"$written"
if put "$written" /etc/modules-load.d/60-gatepost.conf 0644; then
    tell /run/systemd/system systemctl restart systemd-modules-load.service ||
        say 'a driver of USB serial lines cannot be loaded: scanners with that chip will not be seen'
fi
rm -f "$written"
if [ "$changed" = yes ]; then tell /run/systemd/system systemctl daemon-reload; fi
run systemctl --quiet enable gate.service take-up.service gate-reboot.path
# From now on, not from the next boot; what was asked for while nobody watched is no order any more.
tell /run/systemd/system rm -f /run/gatepost/reboot
tell /run/systemd/system systemctl start gate-reboot.path

for file in gate.toml board.toml; do
    [ -f "$root/etc/gatepost/$file" ] || say "still to do: write /etc/gatepost/$file (see the hand-book), or give it a bundle (deploy/fleet.md)"
done
say 'still to do, once: the lines of deploy/boot-config.txt with the pins of this board'
if [ -z "$root" ] && systemctl --quiet is-active gate.service 2>/dev/null; then
    say 'done; the gate that runs is still the old one: systemctl restart gate, when nobody stands at it'
else
    say 'done; to start: systemctl start gate'
fi
