// The reference beside fanout.rs: the same batches from Node's `ws`.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { WebSocketServer } = createRequire(new URL("../tests/peers/package.json", import.meta.url))("ws");
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false, backlog: 4096 });
const pad = "x".repeat(40);
let seq = 0;

const micros = () => Number(process.hrtime.bigint() / 1000n);

function publish() {
  seq += 1;
  const t = Date.now() / 1000;
  const text = JSON.stringify({ type: "data", seq, t, values: { stamp: micros(), pad } });
  for (const client of server.clients) client.send(text);
}

server.on("listening", () => console.log(server.address().port));
createInterface({ input: process.stdin }).on("line", (line) => {
  const [hz, seconds] = line.split(" ").map(Number);
  const start = micros();
  let number = 0;
  const tick = () => {
    while (number < hz * seconds && micros() - start >= (number * 1e6) / hz) {
      publish();
      number += 1;
    }
    if (number === hz * seconds) return console.log("done");
    setTimeout(tick, Math.max(0, (start + (number * 1e6) / hz - micros()) / 1000));
  };
  tick();
}).on("close", () => process.exit(0));
