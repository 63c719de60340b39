"""What `flowd tail` does: a stream of a running daemon, in the terminal."""

import os
import sys

from flowd.operate.terminal import escape, say
from flowd.upstream.connection import dial, open_upstream
from flowd.values import codec


async def follow(address: str) -> bool:
    """Write a JSON record per line until the daemon says goodbye. False when it refuses what is
    asked for, which is then said.
    """
    # Not an option: what stands on a command line can be read by everybody on the machine.
    token = os.environ.get("FLOWD_READ_TOKEN")
    headers = [(b"Authorization", f"Bearer {token}".encode())] if token else None
    async with open_upstream(address, dial=dial, headers=headers) as upstream:
        async for text in upstream:
            message = codec.decode(text)
            if message["type"] == "records":
                for record in message["records"]:
                    sys.stdout.write(codec.encode(record).decode() + "\n")
                sys.stdout.flush()
            elif message["type"] == "error":
                allowed = escape(codec.encode(message["allowed"]).decode())
                say(f"[red]error:[/] {escape(message['message'])}; allowed: {allowed}")
                return False
            else:
                say(f"[yellow]-- {escape(codec.encode(message).decode())}[/]")
    return True
