// Holds N viewers on a stream and counts what they get: viewers.mjs URL N
// For docs/measuring.md; ends with Ctrl-C.
import WebSocket from "ws";

const [url, count] = process.argv.slice(2);
let messages = 0;
for (let number = 0; number < Number(count); number += 1) {
  const viewer = new WebSocket(url);
  viewer.on("message", () => (messages += 1));
  viewer.on("error", (error) => console.error(error.message));
}
setInterval(() => console.log(`${messages} messages`), 5000);
