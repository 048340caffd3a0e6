"""Pushes readings as programs in Python do, with what they take for it.

push.py plain SOCKET       the standard library, to the Unix socket
push.py statsd HOST PORT   the client of the package statsd
push.py influx HOST PORT   line protocol of the package influxdb-client, as datagrams
"""

import socket
import sys
import time


def plain(path):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(b'python/temp 21.5\npython/door=true\n')
        stream.shutdown(socket.SHUT_WR)
        # Nothing is refused.
        assert stream.recv(1024) == b''


def statsd(host, port):
    from statsd import StatsClient

    client = StatsClient(host, int(port), prefix='statsd')
    client.gauge('room.temp', 20.5)
    client.gauge('room.temp', 2, delta=True)
    client.gauge('room.temp', -1, delta=True)
    client.gauge('room.frost', -4)
    with client.pipeline() as together:
        together.gauge('fan', 1200)
        together.gauge('pump', 0.5)


def influx(host, port):
    from influxdb_client import Point, WritePrecision

    point = Point('weather').tag('site', 'roof, west').tag('station', 'a=1')
    point.field('temp', 21.5).field('gusts', 3).field('dry', True).field('sky', 'half "open"')
    point.time(time.time_ns(), WritePrecision.NS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(point.to_line_protocol().encode(), (host, int(port)))


how, *where = sys.argv[1:]
{'plain': plain, 'statsd': statsd, 'influx': influx}[how](*where)
