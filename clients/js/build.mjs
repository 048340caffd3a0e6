// The module that is published, in one file. The program bundles its own copy, with the page: src/web/build.mjs.

import { build } from 'esbuild';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  entryPoints: ['src/index.ts'],
  outfile: 'dist/boardcast.js',
  bundle: true,
  format: 'esm',
  target: ['es2020'],
  supported: { 'import-meta': true },
  charset: 'utf8',
  logLevel: 'warning',
});
