"""A QR code in a terminal, to be scanned from the screen. The only file that imports segno."""

import segno

QUIET_MODULES = 4  # white around it, as the standard asks for (ISO/IEC 18004)
BLACK_ON_WHITE, USUAL = "\x1b[30;107m", "\x1b[0m"  # whatever colours the terminal has
BLOCKS = {(0, 0): " ", (0, 1): "\u2584", (1, 0): "\u2580", (1, 1): "\u2588"}  # upper and lower half


def drawn(text: str) -> list[str]:
    """Lines that show the text as a QR code, two rows of it in each."""
    symbol = segno.make(text, error="l", micro=False)
    rows = [tuple(map(int, row)) for row in symbol.matrix_iter(border=QUIET_MODULES)]
    rows.append((0,) * len(rows[0]))  # they are an odd number
    pairs = zip(rows[::2], rows[1::2], strict=False)
    return [f"{BLACK_ON_WHITE}{''.join(map(_block, *pair))}{USUAL}" for pair in pairs]


def _block(upper: int, lower: int) -> str:
    return BLOCKS[upper, lower]
