// What people write for the board, and what is meant.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { besideStream, streamAddress } from '../src/address.js';

test('every way to write a board leads to its stream', () => {
  for (const [given, stream] of [
    ['pi', 'ws://pi/ws'],
    ['pi:8642', 'ws://pi:8642/ws'],
    ['192.168.1.20:8642', 'ws://192.168.1.20:8642/ws'],
    ['[fd00::1]:8642', 'ws://[fd00::1]:8642/ws'],
    ['http://pi:8642', 'ws://pi:8642/ws'],
    ['http://pi:8642/#top', 'ws://pi:8642/ws'],
    ['https://pi.example/boards/kitchen/', 'wss://pi.example/boards/kitchen/ws'],
    ['ws://pi:8642/ws', 'ws://pi:8642/ws'],
    ['wss://pi/ws?x=1', 'wss://pi/ws?x=1'],
  ] as const) {
    assert.equal(streamAddress(given).href, stream, given);
  }
  assert.equal(streamAddress(new URL('http://pi:8642')).href, 'ws://pi:8642/ws');
});

test('without one it is the board that served the module or the page', () => {
  assert.equal(streamAddress(undefined, 'http://pi:8642/boardcast.js').href, 'ws://pi:8642/ws');
  assert.equal(streamAddress(undefined, 'https://pi.example/kitchen/?token=x#y').href, 'wss://pi.example/kitchen/ws');
  assert.equal(streamAddress('/other/ws', 'http://pi:8642/boardcast.js').href, 'ws://pi:8642/other/ws');
  assert.equal(streamAddress('pi:8642', 'https://panel.example/').href, 'wss://pi:8642/ws');
});

test('what leads nowhere is refused with a sentence', () => {
  for (const [given, base] of [[undefined, undefined], [undefined, 'file:///x/index.js'], ['ftp://pi/', undefined], ['/ws', undefined], ['', undefined]] as const) {
    assert.throws(() => streamAddress(given, base), { name: /SyntaxError|TypeError/ });
  }
});

test('HTTP is beside the stream', () => {
  assert.equal(besideStream(new URL('ws://pi:8642/ws'), 'api/history').href, 'http://pi:8642/api/history');
  assert.equal(besideStream(new URL('wss://pi/kitchen/ws'), 'api/history').href, 'https://pi/kitchen/api/history');
});
