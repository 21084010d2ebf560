// The page's own beginning: what its buttons, keys and files do.

import { call, hasToken, start } from "./access.js";
import { byId, download } from "./dom.js";
import { health, leave, line, meters, now, page, panel, problem, results, showStatus, stage } from "./desk.js";
import { SessionList } from "./sessions.js";
import { openFile, openLive, stop, takeUp, watch } from "./sources.js";

const sessions = new SessionList();

function wire() {
  byId("camera", HTMLButtonElement).addEventListener("click", () => openLive("camera"));
  byId("screen", HTMLButtonElement).addEventListener("click", () => openLive("screen"));
  byId("choose", HTMLButtonElement).addEventListener("click", () => page.file.click());
  page.drop.addEventListener("click", () => page.file.click());
  page.file.addEventListener("change", () => {
    const f = page.file.files?.[0];
    page.file.value = "";
    if (f) openFile(f);
  });
  page.close.addEventListener("click", () => {
    leave();
    byId("choose", HTMLButtonElement).focus();
  });
  page.stop.addEventListener("click", stop);
  for (const link of [page.json, page.csv]) {
    link.addEventListener("click", (e) => {
      if (!hasToken() || !link.href || link.href.startsWith("blob:")) return;
      e.preventDefault(); // a link takes no token along
      fetchResults(link).catch(() => problem("The hub does not answer: the results were not downloaded."));
    });
  }
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
  addEventListener("pagehide", () => now.live && now.session?.finish());
  page.player.addEventListener("keydown", keys);
  panel.onfilter = () => {
    stage.draw();
    panel.touch();
    showStatus();
  };
  panel.onrefresh = showStatus;
  panel.onconfigure = (change) => {
    if (now.live) now.live.interval = panel.fps ? 1000 / panel.fps : 0;
    if (!now.live || !("sample" in change)) now.session?.configure(change);
  };
  stage.ondraw = drawn;
  health.onchange = () => showStatus();
  sessions.own = () => now.session?.id ?? "";
  sessions.onwatch = watch;
}

/** @param {Found | null} r @param {boolean} held */
function drawn(r, held) {
  meters.picture();
  panel.touch();
  page.legend.hidden = !(held && r !== null && r.detections.length > 0);
}

/** @param {HTMLAnchorElement} link */
async function fetchResults(link) {
  const answer = await call(link.href);
  if (answer.ok) return download(await answer.blob(), link.download);
  const { detail, title } = await answer.json().catch(() => ({ title: answer.statusText }));
  problem(`The results were not downloaded: ${detail ?? title}`);
}

async function snapshot() {
  const png = await stage.snapshot();
  if (png) download(png, `${now.name.replace(/\.\w+$/, "") || "detections"}-${stage.result?.frame ?? 0}.png`);
}

/** @param {KeyboardEvent} e */
function keys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || (e.target instanceof HTMLElement && /^(INPUT|SELECT)$/.test(e.target.tagName))) return;
  if (e.key === " " && e.target instanceof HTMLElement && /^(BUTTON|A)$/.test(e.target.tagName)) return;
  const boxes = byId("boxes", HTMLInputElement);
  /** @type {Record<string, () => void>} */
  const does = {
    " ": () => line.toggle(), ",": () => now.player?.step(-1), ".": () => now.player?.step(1),
    ArrowLeft: () => now.player?.seek(now.player.time - 5), ArrowRight: () => now.player?.seek(now.player.time + 5), s: () => snapshot(), b: () => boxes.click(),
  };
  const act = does[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (!act || now.mode === "idle") return;
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
  stage.canvas.setAttribute("aria-label", r ? `${now.name}, frame ${r.frame}: ${list}` : "No picture yet");
}

wire();
start(() => {
  sessions.start();
  if (now.mode === "idle") takeUp().catch(() => {});
});
health.start();
sessions.start();
setInterval(describe, 1000);
takeUp().catch((e) => console.warn("the session before the reload could not be taken up:", e));
