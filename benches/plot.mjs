// Draws the table of fanout.rs: plot.mjs < table > fanout.svg
import { readFileSync } from "node:fs";

const rows = readFileSync(0, "utf8")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()).slice(1, -1))
  .filter((cells) => cells.length === 9 && /^\d+$/.test(cells[1]))
  .map(([server, clients, hz, , cpu, , p99]) => ({
    server,
    load: `${clients} clients × ${hz}/s`,
    cpu: parseFloat(cpu),
    p99: parseFloat(p99),
  }));
const servers = [...new Set(rows.map((row) => row.server))];
const loads = [...new Set(rows.map((row) => row.load))];
const colours = ["#1f6f8b", "#c47a2c", "#6b8e4e", "#8a8f98"];
const [width, bar, gap, left] = [760, 16, 14, 190];
const group = servers.length * bar + gap;
const panel = loads.length * group + 50;

const text = (x, y, words, more = "") => `<text x="${x}" y="${y}" ${more}>${words}</text>`;

function draw(top, title, unit, key) {
  const most = Math.max(...rows.map((row) => row[key]));
  const scale = (width - left - 90) / most;
  const bars = rows.map((row) => {
    const y = top + 34 + loads.indexOf(row.load) * group + servers.indexOf(row.server) * bar;
    const length = Math.max(1, row[key] * scale);
    const fill = colours[servers.indexOf(row.server) % colours.length];
    return (
      `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${bar - 3}" fill="${fill}"/>` +
      text((left + length + 6).toFixed(1), y + 11, `${row[key]} ${unit}`, 'font-size="11"')
    );
  });
  const labels = loads.map((load, number) =>
    text(left - 10, top + 34 + number * group + (servers.length * bar) / 2 + 3, load, 'text-anchor="end"'));
  return [text(10, top + 16, title, 'font-weight="bold"'), ...labels, ...bars].join("\n");
}

const legend = servers.map((server, number) =>
  `<rect x="${left + number * 140}" y="8" width="12" height="12" fill="${colours[number % colours.length]}"/>` +
  text(left + number * 140 + 18, 18, server)).join("\n");
const height = 30 + 2 * panel;
console.log(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="13">
<rect width="${width}" height="${height}" fill="white"/>
${legend}
${draw(30, "CPU of the server per delivered message", "µs", "cpu")}
${draw(30 + panel, "Delay, 99th percentile", "ms", "p99")}
</svg>`);
