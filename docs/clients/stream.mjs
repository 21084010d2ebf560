import { createReadStream } from "node:fs";
import WebSocket from "ws"; // npm install ws

const [url, file] = process.argv.slice(2);
const ws = new WebSocket(url, "detections.v1");
let sent = 0, acked = 0, acknowledged = () => {};

ws.on("open", async () => {
  ws.send(JSON.stringify({ type: "start", detect: { threshold: 0.5 } }));
  for await (const chunk of createReadStream(file)) {
    while (sent - acked > 4 << 20) // stay within the window (8 MiB)
      await new Promise((resolve) => (acknowledged = resolve));
    ws.send(chunk);
    sent += chunk.length;
  }
  ws.send(JSON.stringify({ type: "eof" }));
});

ws.on("message", (text) => {
  const m = JSON.parse(text);
  if (m.type === "ack") (acked = m.bytes), acknowledged();
  else if (m.type === "detections")
    console.log(m.pts_ms, ...m.detections.map((d) => `${d.label} ${d.confidence} ${d.box}`));
  else if (m.type === "error" || m.type === "end") console.log(String(text));
});
