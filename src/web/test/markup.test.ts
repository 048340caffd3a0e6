// Nothing that comes from a board can become markup, a script or a style: no source of the page or of the client it is
// made of has a way to make one. tests/peers/markup.test.mjs tries it in a browser.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

/** The ways in which a text becomes more than a text. */
const WAYS = [
  /\b(inner|outer)HTML\b|\binsertAdjacentHTML\b|\bcreateContextualFragment\b|\bsetHTMLUnsafe\b|\bparseFromString\b|\bsrcdoc\b/,
  /\bdocument\.write(ln)?\b|\beval\b|\bnew Function\b|\bset(Timeout|Interval)\((['"`])/,
  /\b(el|createElement|createElementNS)\(.*['"`](script|iframe|object|embed|base|style|template)['"`]/,
  // An address, a style or a handler as an attribute or a property.
  /\.(href|src|action|formAction|cssText|on[a-z]+) = (?!null\b)|setAttribute\(.*['"`](href|src|style|on[a-z]+)['"`]/,
];

/** Each has one reason to be there. */
const FINE = [
  'link.href = addressOf(entry.name);', // Behind `#/device/`.
  "setAttribute(this.refused, 'href', refusal?.href ?? null);", // `login`, or none.
  'socket.onmessage = ', // A WebSocket's, not an element's.
  'socket.onclose = ',
  'socket.onerror = ',
];

const sources = ['.', '../../clients/js/src'].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`),
);

test('no source has a way to make markup of a text', () => {
  assert.ok(sources.length > 20, sources.join(' '));
  const found = sources.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => WAYS.some((way) => way.test(line)) && !FINE.some((fine) => line.includes(fine)))
      .map((line) => `${path}: ${line.trim()}`),
  );
  assert.deepEqual(found, []);
});

test('those ways are recognised', () => {
  for (const line of [
    'card.innerHTML = name;',
    "note.insertAdjacentHTML('beforeend', text);",
    "setTimeout('draw()', 10);",
    "el('script')",
    'link.href = value;',
    'image.onerror = run;',
    "element.setAttribute('style', text);",
    "setAttribute(element, 'onclick', text);",
  ]) {
    assert.ok(WAYS.some((way) => way.test(line)), line);
  }
});

test('the document has neither scripts nor styles of its own', () => {
  const page = readFileSync('index.html', 'utf8');
  assert.deepEqual(page.match(/<script.*/g), ['<script src="app.js" defer></script>']);
  assert.ok(!/<style|\sstyle=|\son[a-z]+=|javascript:|<base|\w+:\/\//i.test(page));
});
