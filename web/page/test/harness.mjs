// What the tests of the page share: a hub, a browser, and an eye on what a page must
// never do.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** @param {string} name of an environment variable that `make test` sets */
const need = (name) => process.env[name] || assert.fail(`${name} is not set: make test sets it`);

const modules = createRequire(join(need("DETECTIONS_TEST_CLIENTS"), "/"));
const { chromium, firefox } = modules("playwright-core");
const inFirefox = process.env.DETECTIONS_TEST_BROWSER === "firefox"; // by hand: not everything here can be done in it
export const axe = modules("axe-core").source;
export const patience = 120_000; // ms: machines that test are busy
export const media = (/** @type {string} */ name) => join(need("DETECTIONS_TEST_MEDIA"), name);

/** The program, as it is run by hand. */
export class Hub {
  dir = mkdtempSync(join(tmpdir(), "detections-page-"));
  url = "";
  #process;
  log = "";

  async start(...flags) {
    const listen = this.url ? new URL(this.url).host : "127.0.0.1:0";
    const p = (this.#process = spawn(need("DETECTIONS_BINARY"),
      ["serve", "--listen", listen, "--data", this.dir, "--providers", "cpu", "--drain-delay", "0s",
        "--min-rate", "0.01", ...flags], // cameras of tests before still run, and the machine may be slow
      { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, DETECTIONS_ORT_LIBRARY: need("ORT_LIBRARY") } }));
    const seen = { serving: "", ready: false };
    await new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`the hub does not start:\n${this.log}`)), patience);
      p.stderr.on("data", (text) => {
        this.log += text;
        for (const line of this.log.split("\n")) {
          if (!line.startsWith("{") || !line.endsWith("}")) continue;
          const m = JSON.parse(line);
          if (m.msg === "serving") seen.serving = m.url;
          if (m.msg === "engine ready") seen.ready = true;
        }
        if (seen.serving && seen.ready) done(clearTimeout(timer));
      });
      p.on("exit", () => fail(new Error(`the hub ended:\n${this.log}`)));
    });
    this.url = seen.serving;
  }

  /** Makes a key for who streams; the hub is to be started with --api-keys of this file. */
  key() {
    const made = execFileSync(need("DETECTIONS_BINARY"), ["key", "add", "page", "--role", "stream", "--file", join(this.dir, "keys")], { encoding: "utf8" });
    return made.match(/dk_\w+/)[0];
  }

  /** @param {NodeJS.Signals} signal */
  async stop(signal = "SIGTERM") {
    const p = this.#process;
    if (!p || p.exitCode !== null) return;
    p.removeAllListeners("exit");
    const gone = new Promise((done) => p.on("exit", done));
    p.kill(signal);
    await gone;
    this.log = "";
  }

  async end() {
    await this.stop("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Every event of a session so far. @param {string} id */
  async events(id) {
    const answer = await fetch(`${this.url}/v1/sessions/${id}/results`);
    assert.equal(answer.status, 200);
    return (await answer.json()).events;
  }
}

/** Without the flags on the network a browser looks for its maker's hosts. @param {string[]} more */
export function browser(...more) {
  if (inFirefox) {
    const firefoxUserPrefs = { "media.navigator.permission.disabled": true, "media.navigator.streams.fake": true, "media.peerconnection.ice.loopback": true };
    return firefox.launch({ channel: "moz-firefox", executablePath: "/usr/bin/firefox-esr", firefoxUserPrefs });
  }
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${media("camera.y4m")}`, "--autoplay-policy=no-user-gesture-required", ...more],
  });
}

/** What browsers say of a hub that ends, is away or has no room. */
export const away = [/ERR_/, /503/, /WebSocket connection to .* failed/];

/**
 * A page that may only do what is allowed: at the test's end nothing was reported,
 * complained about, or asked of another host.
 */
export async function visit(t, chrome, url, options = {}) {
  const { path = "/", allowed = [], script, ...rest } = options;
  if (inFirefox) delete rest.permissions;
  const context = await chrome.newContext({ viewport: { width: 1280, height: 860 }, ...rest });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const bad = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && bad.push(`${m.type()}: ${m.text()} ${m.location().url}`));
  page.on("pageerror", (e) => bad.push(e.stack));
  context.on("request", (r) => {
    const to = new URL(r.url());
    if (!["blob:", "data:"].includes(to.protocol) && to.host !== new URL(url).host) bad.push(`request to ${r.url()}`);
  });
  await context.exposeBinding("reported", (_, text) => bad.push(`policy: ${text}`));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) => window.reported(`${e.violatedDirective} ${e.blockedURI}`));
  });
  if (inFirefox) await context.addInitScript(countingCamera);
  if (script) await context.addInitScript(script);
  t.after(async () => {
    await context.close();
    assert.deepEqual(bad.filter((b) => !allowed.some((a) => a.test(b))), []);
  });
  await page.goto(url + path);
  return page;
}

/** Waits until something is so outside of the page. @param {() => Promise<unknown>} what */
export async function waitFor(what) {
  for (const until = Date.now() + patience; Date.now() < until; ) {
    const is = await what();
    if (is) return is;
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.fail("it does not happen");
}

/** Waits until the line below the picture says something. */
export async function says(page, words) {
  await page.waitForFunction((w) => new RegExp(w).test(document.getElementById("status").textContent), words.source, { timeout: patience });
}

/** The session that the page shows. */
export async function sessionOf(page) {
  return page.waitForFunction(() => document.getElementById("json").getAttribute("href")?.match(/sessions\/([^/]+)\//)?.[1]).then((h) => h.jsonValue());
}

/** Defines, in the page, how the number that is burned into a picture is read. */
export function counterReader() {
  /** @param {CanvasRenderingContext2D} c @param {number} k canvas pixels per source pixel */
  window.readCounter = (c, k) => {
    let n = 0;
    for (let bit = 0; bit < 8; bit++) {
      const at = (y) => c.getImageData(Math.round((32 * bit + 16) * k), Math.round(y * k), 1, 1).data[1];
      const [high, low] = [at(8), at(24)];
      if (Math.abs(high - low) < 80) return null;
      if (high > low) n |= 1 << bit;
    }
    return n;
  };
  /** Another decoder than the page's: the number in each picture that it is given, by the picture's time. */
  window.counterDecoder = (found) => {
    const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const decoder = new VideoDecoder({
      error: (e) => console.error(String(e)),
      output: (f) => {
        c.canvas.width = f.displayWidth;
        c.canvas.height = f.displayHeight;
        c.drawImage(f, 0, 0);
        found[f.timestamp] = window.readCounter(c, f.displayWidth / 768);
        f.close();
      },
    });
    decoder.configure({ codec: "vp8" });
    return decoder;
  };
  /** Reads it whenever another picture was drawn; boxes are not there, they may lie over it. */
  window.watchCounter = (width) => {
    window.samples = [];
    const stage = document.getElementById("stage");
    new MutationObserver(() => {
      if (stage.dataset.frame === undefined) return;
      window.samples.push({ frame: Number(stage.dataset.frame), pts: Number(stage.dataset.pts), counter: window.readCounter(stage.getContext("2d"), stage.width / width) });
    }).observe(stage, { attributes: true, attributeFilter: ["data-pts"] });
  };
}

/** Keeps back what a page sends after its n-th binary message, until released. */
export async function holdUpload(page, n) {
  const hold = { release: () => {}, sent: 0 };
  const free = new Promise((done) => (hold.release = done));
  await page.routeWebSocket(/v1\/session/, (ws) => {
    const server = ws.connectToServer();
    let order = Promise.resolve();
    ws.onMessage((m) => {
      if (typeof m !== "string") hold.sent++;
      const late = hold.sent > n && (typeof m !== "string" || m.includes('"eof"'));
      if (!late) server.send(m);
      else order = order.then(() => free).then(() => server.send(m));
    });
  });
  return hold;
}

/** In the page: a camera whose pictures are numbered as those of the test media are. */
function countingCamera() {
  const c = document.createElement("canvas");
  [c.width, c.height] = [768, 576];
  const context = c.getContext("2d");
  let n = 0;
  setInterval(() => {
    context.fillStyle = `hsl(${(5 * n) % 360} 40% 50%)`;
    context.fillRect(0, 0, c.width, c.height);
    for (let bit = 0; bit < 8; bit++) {
      const one = (n >> bit) & 1;
      context.fillStyle = one ? "white" : "black";
      context.fillRect(32 * bit, 0, 32, 16);
      context.fillStyle = one ? "black" : "white";
      context.fillRect(32 * bit, 16, 32, 16);
    }
    n = (n + 1) % 60;
  }, 100);
  if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = async () => c.captureStream();
}
