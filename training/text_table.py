"""Tables for a terminal: columns as wide as their widest cell, long cells cut."""

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, max_width: int = 40) -> str:
    """Lays out a table with a line under the header; columns that hold only numbers are aligned to the right.

    Args:
        header: Column titles.
        rows: Cells, as many a row as there are titles; floats show four decimals, None shows as "-".
        max_width: Widest cell in characters; longer ones end in "…".

    Returns:
        The table without a final line break.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} cells in every row, got {len(row)} in row {number}")
    cells = [[_text(cell, max_width) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(cell, (int, float)) for cell in column)
        for column in (zip(*rows, strict=True) if rows else [()] * len(header))
    ]
    lines = [_line(row, widths, numeric) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _text(cell: object, max_width: int) -> str:
    if cell is None:
        return "-"
    text = f"{cell:.4f}" if isinstance(cell, float) else " ".join(str(cell).split())
    return text if len(text) <= max_width else text[: max_width - 1] + "…"


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(row, widths, numeric, strict=True)
    )
    return "  ".join(padded).rstrip()
