// The module that is published, in one file, and its licences. The program bundles its own copy, with the page: src/web/build.mjs.

import { build } from 'esbuild';
import { copyFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

await build({
  absWorkingDir: here,
  entryPoints: ['src/index.ts'],
  outfile: 'dist/boardcast.js',
  bundle: true,
  format: 'esm',
  target: ['es2020'],
  charset: 'utf8',
  logLevel: 'warning',
});
for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) await copyFile(join(here, '../..', name), join(here, name));
