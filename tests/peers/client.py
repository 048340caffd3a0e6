"""Joins a Boardcast stream and prints what happens, one JSON object a line.

    client.py URL [--subprotocol NAME] [--messages COUNT]

After COUNT messages it says goodbye itself; otherwise it stays until the
server ends the connection. The last line is the close code that came back.
"""

import argparse
import json

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def say(**event):
    print(json.dumps(event), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--subprotocol", action="append")
    parser.add_argument("--messages", type=int)
    asked = parser.parse_args()

    # A proxy of the environment must not come between us and the loopback.
    with connect(asked.url, subprotocols=asked.subprotocol, proxy=None) as ws:
        say(event="open", subprotocol=ws.subprotocol)
        count = 0
        try:
            while count != asked.messages:
                say(event="message", message=json.loads(ws.recv()))
                count += 1
        except ConnectionClosed:
            pass
        ws.close()
    say(event="close", code=ws.close_code, reason=ws.close_reason)


if __name__ == "__main__":
    main()
