"""Print the prices of forced orders as they come."""

from flowd_client import follow

for batch in follow("http://127.0.0.1:4200", "force-orders", symbol="BTCUSDT"):
    for record in batch.records:
        print(record.seq, record.value["price"], flush=True)
