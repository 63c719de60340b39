"""Print forced orders as they come, and go on where the last run ended."""

import sys
from pathlib import Path

from flowd_client import follow


def run(url: str, kept: Path) -> None:
    """Follow for ever. The position is kept when a batch was dealt with."""
    after = kept.read_text() if kept.exists() else None
    for batch in follow(url, "force-orders", after=after, symbol="BTCUSDT"):
        if batch.reset:
            print("the daemon lost its past; everything comes anew")
        if batch.gap:
            print(f"lost: {batch.gap.first} to {batch.gap.last}")
        for record in batch.records:
            print(record.seq, record.value["side"], record.value["price"], flush=True)
        kept.write_text(batch.position)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
