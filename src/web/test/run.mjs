// Node 20 cannot run TypeScript, and the bundler is here anyway: the tests are bundled into a temporary folder, so that
// nothing is left behind in the repository, and run by Node's own runner.

import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = await mkdtemp(join(tmpdir(), 'boardcast-page-'));
let status = 1;
try {
  const tests = (await readdir(here)).filter((name) => name.endsWith('.test.ts')).sort();
  await build({
    entryPoints: tests.map((name) => join(here, name)),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  const files = tests.map((name) => join(out, name.replace(/\.ts$/, '.mjs')));
  // The local time zone shows in the formatted times.
  const env = { ...process.env, TZ: 'UTC' };
  status = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], { stdio: 'inherit', env, cwd: dirname(here) }).status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
process.exit(status);
