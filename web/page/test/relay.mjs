// By hand, for relay.sh: the camera of the page at a URL, and which way its media goes.

import { browser } from "./harness.mjs";

const url = process.argv[2];
const chrome = await browser("--use-fake-ui-for-media-stream", `--unsafely-treat-insecure-origin-as-secure=${url}`);
const page = await chrome.newPage();
await page.addInitScript(() => {
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(config) {
      super(config);
      window.connection = this;
    }
  };
});
for (let left = 60; !(await page.goto(`${url}/readyz`).then((a) => a.ok(), () => false)); left--) {
  if (left === 0) throw new Error("the hub is not ready");
  await new Promise((done) => setTimeout(done, 500));
}
await page.goto(url);
await page.getByRole("button", { name: "Camera", exact: true }).click();
await page.waitForFunction(() => Number(document.getElementById("stage").dataset.frame) >= 20);
console.log(await page.evaluate(async () => {
  const stats = await window.connection.getStats();
  const pair = [...stats.values()].find((s) => s.type === "candidate-pair" && s.nominated);
  const end = (id) => { const c = stats.get(id); return `${c.candidateType} ${c.address}:${c.port} ${c.relayProtocol ?? ""}`; };
  return { local: end(pair.localCandidateId), remote: end(pair.remoteCandidateId), status: document.getElementById("status").textContent };
}));
await chrome.close();
