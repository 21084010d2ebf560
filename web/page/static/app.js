// The page: what is looked at, and who is told of it.

import { byId, count, download, say, sized } from "./dom.js";
import { HealthWatch } from "./health.js";
import { Live, capture } from "./live.js";
import { Meters } from "./meters.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Results } from "./results.js";
import { Session } from "./session.js";
import { SessionList } from "./sessions.js";
import { Stage } from "./stage.js";
import { forget, keepFile, keptFile, save, saved } from "./store.js";
import { TimeLine } from "./timeline.js";

/** @typedef {"idle" | "file" | "live" | "watch" | "picture"} Mode */

const liveResults = 2000; // results of a live session that are kept here; the hub keeps all

const results = new Results();
const stage = new Stage(byId("stage", HTMLCanvasElement), results);
const panel = new Panel(results, stage);
const line = new TimeLine(results);
const meters = new Meters(byId("charts", HTMLElement));
const health = new HealthWatch();
const sessions = new SessionList();

const page = {
  player: byId("player", HTMLElement), frame: byId("frame", HTMLElement), drop: byId("drop", HTMLElement),
  controls: byId("controls", HTMLElement), transport: byId("transport", HTMLElement), status: byId("status", HTMLElement),
  problem: byId("problem", HTMLElement), badge: byId("badge", HTMLElement), legend: byId("legend", HTMLElement),
  upload: byId("upload", HTMLProgressElement), file: byId("file", HTMLInputElement), close: byId("close", HTMLButtonElement),
  stop: byId("stop", HTMLButtonElement), json: byId("json", HTMLAnchorElement), csv: byId("csv", HTMLAnchorElement),
};

/** @type {Mode} */
let mode = "idle";
let name = "";
/** @type {Session | null} */
let session = null;
/** @type {Player | null} */
let player = null;
/** @type {Live | null} */
let live = null;
/** Of the file that is sent, in bytes. */
let size = 0;
/** Waits for its file to be dropped again. */
let wantsFile = false;
/** What the hub last said it is doing. */
let state = "";
/** Of the connection, if it is not open. */
let linkText = "";
/** @type {End | null} */
let end = null;

/** @param {Mode} m */
function setMode(m) {
  mode = m;
  document.body.dataset.mode = m;
  page.drop.hidden = m !== "idle";
  page.frame.hidden = m === "idle";
  page.controls.hidden = m === "idle";
  page.transport.hidden = m !== "file";
  page.close.hidden = m === "idle";
  page.csv.hidden = m === "picture";
  meters.active = m !== "idle";
}

/** Leaves what is on the page now. */
function leave() {
  if (session?.feeding && !session.ended) session.cancel();
  session?.leave();
  player?.close();
  live?.close();
  forget();
  session = player = live = null;
  end = null;
  wantsFile = false;
  size = 0;
  state = linkText = "";
  results.clear();
  panel.clear();
  line.reset();
  stage.clear();
  meters.reset();
  meters.skipped = () => 0;
  problem("");
  setMode("idle");
  showStatus();
}

/** @param {string} text */
function problem(text) {
  page.problem.hidden = text === "";
  say(page.problem, text);
}

/** @param {Mode} m @param {string} what */
function begin(m, what) {
  leave();
  name = what;
  results.threshold = panel.threshold;
  setMode(m);
  page.player.focus({ preventScroll: true });
}

/** @param {Session} s */
function attach(s) {
  session = s;
  s.onmessage = (m) => {
    if (s === session) take(m);
  };
  s.onlink = (l) => {
    if (s !== session) return;
    linkText = "";
    if (l.state === "waiting") linkText = l.why === "goaway" ? "The hub is restarting; the session goes on by itself." : "The connection is lost; trying again.";
    if (l.state === "connecting") linkText = "Connecting.";
    if (l.state === "closed" && l.why) failed(l.code ?? "", l.why);
    showStatus();
  };
  s.onbytes = () => showUpload();
  s.open();
}

/** @param {string} code @param {string} why */
function failed(code, why) {
  switch (code) {
    case "unsupported_media":
      problem(`This cannot be looked at. ${why}`);
      break;
    case "unknown_session":
      problem("The hub no longer knows this session: its results were kept for a while and are deleted.");
      forget();
      break;
    case "replaced":
      problem("Another page or program took over this session. What it finds can still be watched.");
      break;
    default:
      problem(why);
  }
}

/** @param {HubMessage} m */
function take(m) {
  switch (m.type) {
    case "started":
      started(m);
      break;
    case "detections":
      result(m);
      break;
    case "configured":
      panel.configured(m);
      break;
    case "state":
      state = m.state;
      break;
    case "progress":
      meters.accounting = m.accounting;
      break;
    case "end":
      ended(m);
      break;
    case "error":
      if (!m.fatal || !m.temporary) failed(m.code, m.message);
      break;
  }
  if (m.type !== "detections") showStatus();
}

/** @param {Started} m */
function started(m) {
  live?.begin();
  page.json.href = `/v1/sessions/${m.session}/results?format=json`;
  page.csv.href = `/v1/sessions/${m.session}/results?format=csv`;
  page.json.download = `${name || m.session}.json`;
  page.csv.download = `${name || m.session}.csv`;
  if (m.token && session && mode === "file") save({ session: m.session, token: m.token, name, size, kind: "file" });
  showUpload();
}

/** @param {Result} r */
function result(r) {
  results.add(r);
  meters.result(r);
  panel.touch();
  if (live) {
    results.keep(liveResults);
    live.result(r);
  } else if (player) {
    player.result(r);
    if (!stage.hasPicture) stage.showResult(r);
  } else {
    results.keep(liveResults);
    stage.showResult(r);
  }
}

/** @param {End} e */
function ended(e) {
  end = e;
  meters.accounting = e.accounting;
  player?.complete();
  if (live) {
    live.close();
    live = null;
  }
  line.show();
  if (e.outcome === "failed") failed(e.code ?? "", e.message ?? `The session failed: ${e.code}.`);
}

const words = /** @type {Record<string, string>} */ ({
  waiting_for_engine: "Waiting for the engine.",
  waiting_for_index: "The file's index is at its end, so it can be looked at when all of it is there.",
  waiting_for_capacity: "Waiting for others to finish.",
  waiting_for_bytes: "Waiting for more of the file.",
  lingering: "Waiting for its sender to come back.",
});

function showStatus() {
  const running = session !== null && end === null;
  page.stop.hidden = !(running && session?.feeding);
  say(page.status, statusText());
  const badge = running ? (mode === "live" ? "Live" : mode === "watch" ? "Watching" : "Looking") : "";
  page.badge.hidden = badge === "" || mode === "picture";
  page.badge.dataset.kind = mode;
  say(page.badge, linkText ? "Reconnecting" : badge);
}

function statusText() {
  if (mode === "idle" || mode === "picture") return mode === "idle" ? "" : `${name}: ${count(results.visible, "object")}.`;
  if (wantsFile) return `Drop ${name} again, or choose it with File, to send the rest. What was sent is safe.`;
  if (end) {
    const found = `${count(end.accounting.inferred, "frame")}, ${count(results.objects, "object")}`;
    return end.outcome === "done" ? `${name}: done. ${found}.` : end.outcome === "cancelled" ? `${name}: stopped. ${found}.` : `${name}: ended early. ${found}.`;
  }
  if (linkText) return linkText;
  if (health.health?.draining) return "The hub is restarting; the session goes on by itself.";
  if (state === "running") return `${name}: looking, ${count(results.total, "frame")} so far.`;
  return `${name}: ${(words[state] ?? "Connecting.").toLowerCase()}`;
}

function showUpload() {
  const shows = mode === "file" && size > 0 && end === null && session !== null && session.acked < size;
  page.upload.hidden = !shows;
  if (!shows || !session) return;
  page.upload.value = (100 * session.acked) / size;
  page.upload.setAttribute("aria-valuetext", `${sized(session.acked)} of ${sized(size)}`);
  page.upload.title = `${sized(session.acked)} of ${sized(size)} are safe at the hub`;
}

/** @param {Blob} file */
function play(file) {
  player = new Player(stage, results);
  line.player = player;
  player.onchange = () => line.show();
  player.onerror = (text) => {
    problem(text);
    player?.close();
    player = line.player = null;
    page.transport.hidden = true;
    const last = results.last;
    if (last) stage.showResult(last);
  };
  player.open(file);
}

/** @param {File} file */
async function openFile(file) {
  if (wantsFile && session) {
    if (file.size === size) return goOn(file);
    problem(`${file.name} is another file: it has ${sized(file.size)}, and ${name} has ${sized(size)}.`);
    return;
  }
  if (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp)$/i.test(file.name)) return openPicture(file);
  begin("file", file.name);
  size = file.size;
  const s = new Session({ start: { media: { name: file.name, size: file.size }, mode: "file", sample: panel.sample, detect: { threshold: panel.threshold } } });
  play(file);
  s.feed(file);
  attach(s);
  const kept = s.onmessage;
  s.onmessage = (m) => {
    kept(m);
    if (m.type !== "started") return;
    s.onmessage = kept;
    keepFile(m.session, file).catch(() => {}); // a reload then asks for it
  };
}

/** The file that a reload lost is there again. @param {File} file */
function goOn(file) {
  wantsFile = false;
  problem("");
  play(file);
  session?.feed(file);
  for (const r of results.list) player?.result(r);
  if (end) player?.complete();
  page.transport.hidden = false;
  showStatus();
}

/** @param {File} file */
async function openPicture(file) {
  begin("picture", file.name);
  say(page.status, `${file.name}: looking.`);
  try {
    const [picture, answer] = await Promise.all([
      createImageBitmap(file).catch(() => null),
      // Everything that could be something is asked for; the slider then decides.
      fetch("/detect?threshold=0.05", { method: "POST", body: file }),
    ]);
    const body = await answer.json();
    if (mode !== "picture" || name !== file.name) return;
    if (!answer.ok) throw new Error(body.detail ?? body.title);
    /** @type {Result} */
    const r = { ...body, type: "detections", offset: 1, frame: 0, pts_ms: 0 };
    results.add(r);
    if (picture) stage.show(picture, r.width, r.height, { time: 0, result: r });
    else stage.showResult(r);
    page.json.href = URL.createObjectURL(new Blob([JSON.stringify(body, null, 2)], { type: "application/json" }));
    page.json.download = `${file.name}.json`;
    panel.touch();
    showStatus();
  } catch (e) {
    problem(e instanceof Error ? e.message : String(e));
    say(page.status, "");
  }
}

/** @param {"camera" | "screen"} kind */
async function openLive(kind) {
  problem("");
  /** @type {MediaStream} */
  let stream;
  try {
    stream = await capture(kind);
  } catch (e) {
    problem(e instanceof Error ? e.message : String(e));
    return;
  }
  begin("live", kind === "camera" ? "Camera" : "Screen");
  const s = new Session({ start: { media: { name, container: "matroska" }, mode: "live", detect: { threshold: panel.threshold } } });
  const l = (live = new Live(stream, s, stage));
  l.interval = panel.fps ? 1000 / panel.fps : 0;
  l.onlatency = (ms) => meters.latency(ms);
  l.onended = () => showStatus();
  meters.skipped = () => l.skipped;
  attach(s);
}

/** @param {string} id @param {string} what */
function watch(id, what) {
  begin("watch", what);
  attach(new Session({ watch: id }));
}

/** Takes up what this tab did before it was reloaded. */
async function takeUp() {
  const s = saved();
  if (!s) return;
  const answer = await fetch(`/v1/sessions/${encodeURIComponent(s.session)}`);
  if (!answer.ok || mode !== "idle") return answer.status === 404 ? forget() : undefined;
  /** @type {SessionInfo} */
  const info = await answer.json();
  const file = await keptFile(s.session).catch(() => null);
  name = s.name;
  size = s.size;
  results.threshold = panel.threshold;
  setMode("file");
  const ended = info.state === "ended";
  const again = ended ? new Session({ watch: s.session }) : new Session({ resume: { session: s.session, token: s.token } });
  if (file) {
    play(file);
    if (!ended) again.feed(file);
  } else {
    page.transport.hidden = true;
    wantsFile = !ended && info.acked < s.size;
  }
  attach(again);
}

function wire() {
  byId("camera", HTMLButtonElement).addEventListener("click", () => openLive("camera"));
  byId("screen", HTMLButtonElement).addEventListener("click", () => openLive("screen"));
  byId("choose", HTMLButtonElement).addEventListener("click", () => page.file.click());
  page.file.addEventListener("change", () => {
    const f = page.file.files?.[0];
    page.file.value = "";
    if (f) openFile(f);
  });
  page.close.addEventListener("click", () => {
    leave();
    byId("choose", HTMLButtonElement).focus();
  });
  page.stop.addEventListener("click", () => {
    if (live) {
      session?.finish();
      live.close();
    } else session?.cancel();
  });
  byId("snapshot", HTMLButtonElement).addEventListener("click", () => snapshot());
  for (const kind of /** @type {const} */ (["dragenter", "dragover"])) {
    addEventListener(kind, (e) => {
      e.preventDefault();
      document.body.classList.add("dragging");
    });
  }
  addEventListener("dragleave", (e) => {
    if (e.relatedTarget === null) document.body.classList.remove("dragging");
  });
  addEventListener("drop", (e) => {
    e.preventDefault();
    document.body.classList.remove("dragging");
    const f = e.dataTransfer?.files[0];
    if (f) openFile(f);
  });
  addEventListener("pagehide", () => live && session?.finish());
  page.player.addEventListener("keydown", keys);
  panel.onfilter = () => {
    results.recount();
    stage.draw();
    panel.touch();
    showStatus();
  };
  panel.onrefresh = showStatus;
  panel.onconfigure = (change) => {
    if (live) live.interval = panel.fps ? 1000 / panel.fps : 0;
    if (!live || !("sample" in change)) session?.configure(change);
  };
  stage.ondraw = drawn;
  health.onchange = () => showStatus();
  sessions.own = () => session?.id ?? "";
  sessions.onwatch = watch;
}

/** @param {Result | null} r @param {boolean} held */
function drawn(r, held) {
  meters.picture();
  panel.touch();
  page.legend.hidden = !(held && r !== null && r.detections.length > 0);
}

async function snapshot() {
  const png = await stage.snapshot();
  if (png) download(png, `${name.replace(/\.\w+$/, "") || "detections"}-${stage.result?.frame ?? 0}.png`);
}

/** @param {KeyboardEvent} e */
function keys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || (e.target instanceof HTMLElement && /^(INPUT|SELECT)$/.test(e.target.tagName))) return;
  if (e.key === " " && e.target instanceof HTMLElement && /^(BUTTON|A)$/.test(e.target.tagName)) return;
  const boxes = byId("boxes", HTMLInputElement);
  /** @type {Record<string, () => void>} */
  const does = {
    " ": () => line.toggle(), ",": () => player?.step(-1), ".": () => player?.step(1),
    ArrowLeft: () => player?.seek(player.time - 5), ArrowRight: () => player?.seek(player.time + 5), s: () => snapshot(), b: () => boxes.click(),
  };
  const act = does[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (!act || mode === "idle") return;
  e.preventDefault();
  act();
}

/** What the picture shows, in words, now and then. */
function describe() {
  const r = stage.result;
  const shown = r?.detections.filter((d) => results.shows(d)) ?? [];
  /** @type {Map<string, number>} */
  const by = new Map();
  for (const d of shown) by.set(d.label, (by.get(d.label) ?? 0) + 1);
  const list = [...by].map(([l, n]) => `${n} ${l}`).join(", ") || "no objects";
  stage.canvas.setAttribute("aria-label", r ? `${name}, frame ${r.frame}: ${list}` : "No picture yet");
}

wire();
health.start();
sessions.start();
setInterval(describe, 1000);
takeUp().catch((e) => console.warn("the session before the reload could not be taken up:", e));
