// One build script instead of a bundler's configuration, so that what ends up in the binary can be read in one place.
// Nothing here depends on the time, the folder or the machine: the same lock file gives the same bytes.

import { build } from 'esbuild';
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, 'dist');

const result = await build({
  absWorkingDir: here,
  entryPoints: [
    { in: 'main.ts', out: 'app' },
    { in: 'style.css', out: 'app' },
  ],
  outdir: 'dist',
  write: false,
  metafile: true,
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['es2020'],
  charset: 'utf8',
  // The notices are collected below instead: every visitor would have to download them otherwise.
  legalComments: 'none',
  logLevel: 'warning',
});

// The client alone, for other pages: one module, served as /boardcast.js.
const client = await build({
  absWorkingDir: here,
  entryPoints: [{ in: '../../clients/js/src/index.ts', out: 'boardcast' }],
  outdir: 'dist',
  write: false,
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2020'],
  charset: 'utf8',
  logLevel: 'warning',
});

const licenses = await licensesOf(result.metafile);

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
for (const file of [...result.outputFiles, ...client.outputFiles]) await writeFile(file.path, file.contents);
for (const name of ['index.html', 'favicon.svg']) await copyFile(join(here, name), join(dist, name));
await writeFile(join(dist, 'licenses.txt'), licenses);

/** The licence text of every package that esbuild really took something from. Fails when one has none. */
async function licensesOf(metafile) {
  const names = new Set();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const match = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
      if (match && bytesInOutput > 0) names.add(match[1]);
    }
  }
  const parts = [];
  for (const name of [...names].sort()) {
    const folder = join(here, 'node_modules', name);
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    if (!file) throw new Error(`${name} is bundled, but its package holds no licence text`);
    const text = (await readFile(join(folder, file), 'utf8')).replace(/\r\n/g, '\n').trim();
    parts.push(`${name} ${manifest.version} (${manifest.license})\n\n${text}\n`);
  }
  return parts.join(`\n${'-'.repeat(72)}\n\n`);
}
