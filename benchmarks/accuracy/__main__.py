"""Published accuracies and rounds against ours.

    python -m benchmarks.accuracy [--quick] [--only mcmahan niid hierfavg mtgc] [--cells fedavg/dir0.5,…]
                                  [--budget-minutes 60]

Cells (see the files of this folder for their settings): McMahan's 2NN on MNIST, NIID-Bench, HierFAVG's time to an
accuracy, MTGC under group skew. Everything takes hours on two cores. A run that was interrupted goes on from its last
checkpoint, and what is finished is read from `.benchmarks/accuracy/`; `--budget-minutes` begins no cell after that.
`--quick` only shows that everything works: its figures mean nothing and are not kept.
"""

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from benchmarks.accuracy import mcmahan, niid, tree
from benchmarks.accuracy.runs import Cell, Figures, results_file
from benchmarks.common import commit, console, provenance, read_json, report, write_json

PARTS = {
    "mcmahan": mcmahan.cells,
    "hierfavg": tree.hierfavg_cells,
    "mtgc": tree.mtgc_cells,
    "niid": niid.cells,
}

Results = dict[str, dict[str, Figures]]
"""By part and cell."""


def main() -> None:
    options = arguments()
    cells = chosen(options)
    results: Results = {} if options.quick else kept()
    deadline = time.monotonic() + 60 * options.budget_minutes
    for i, cell in enumerate(cells, 1):
        if time.monotonic() >= deadline:
            console.print(f"[yellow]the budget is spent; {len(cells) - i + 1} cells were not begun[/]")
            break
        console.rule(f"cell {i} of {len(cells)}: {cell.part} {cell.name}")
        figures = cell.measure() | {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
        results.setdefault(cell.part, {})[cell.name] = figures
        console.print(line(cell.part, cell.name, figures))
        if not options.quick:
            write_json(results_file(), provenance() | {"result": results})
    console.print(table(results))
    report("accuracy", results | {"quick": options.quick}, keep=not options.quick)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute or two of everything, to see that it works")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run, in this order")
    parser.add_argument("--cells", help="cells to run, by name, with commas between, in this order")
    parser.add_argument("--budget-minutes", type=float, default=float("inf"), help="begin no cell after that")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Cell]:
    """The cells to run.

    Raises:
        SystemExit: a cell is unknown.
    """
    cells = [cell for part in options.only for cell in PARTS[part](options.quick)]
    if options.cells is None:
        return cells
    by_name = {cell.name: cell for cell in cells}
    names = options.cells.split(",")
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise SystemExit(f"There is no cell '{unknown[0]}' here; there are {', '.join(by_name)}.")
    return [by_name[name] for name in names]


def kept() -> Results:
    """The cells of earlier runs."""
    saved: dict[str, Any] = read_json(results_file()) or {"result": {}}
    return {part: cells for part, cells in saved["result"].items() if part in PARTS}


def line(part: str, name: str, figures: Figures) -> str:
    verdict = "[green]agrees[/]" if figures["agrees"] else "[red]does not agree[/]"
    return f"{part} {name}: ours {figures['ours']}, paper {figures['paper']} ({figures['unit']}): {verdict}"


def table(results: Results) -> Table:
    shown = Table("cell", "what", "ours", "paper", "agrees", "s/round", title="Ours against the papers")
    for part, cells in results.items():
        for name, figures in cells.items():
            agrees = "[green]yes[/]" if figures["agrees"] else "[red]no[/]"
            values = (str(figures[key]) for key in ("unit", "ours", "paper"))
            shown.add_row(f"{part} {name}", *values, agrees, paces(figures["seconds_per_round"]))
    return shown


def paces(seconds: float | dict[str, float]) -> str:
    return " / ".join(map(str, seconds.values())) if isinstance(seconds, dict) else str(seconds)


if __name__ == "__main__":
    main()
