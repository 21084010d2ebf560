// The banner that says in words what the hub cannot do now, and until when.

import { byId, say } from "./dom.js";

const often = 1500; // ms, while something is not as it should be
const rarely = 6000;

export class HealthWatch {
  #banner = byId("banner", HTMLElement);
  #text = byId("banner-text", HTMLElement);
  #far = byId("banner-far", HTMLElement);
  #bar = byId("banner-bar", HTMLProgressElement);
  #chip = byId("engine", HTMLElement);
  #timer = 0;
  /** Questions so far: only the last one's answer counts. */
  #asked = 0;
  /** @type {Health | null} */
  health = null;
  /** @type {(h: Health) => void} */
  onchange = () => {};

  start() {
    this.#ask();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#ask();
    });
  }

  async #ask() {
    clearTimeout(this.#timer);
    const nth = ++this.#asked;
    /** @type {Health | null} */
    let h = null;
    try {
      const answer = await fetch("/health", { signal: AbortSignal.timeout(4000), cache: "no-store" });
      h = await answer.json();
    } catch {
      // Said below.
    }
    if (nth !== this.#asked) return;
    this.health = h;
    this.#show(h);
    if (h) this.onchange(h);
    if (!document.hidden) this.#timer = window.setTimeout(() => this.#ask(), h?.aiAvailability === "ENABLED" && !h.draining ? rarely : often);
  }

  /** @param {Health | null} h */
  #show(h) {
    const [level, text, percent] = explain(h);
    say(this.#chip, h?.aiAvailability === "ENABLED" && h.model ? `${h.model} · ${provider(h.provider)}` : chip(h));
    this.#chip.dataset.level = level;
    this.#banner.hidden = text === "";
    this.#banner.dataset.level = level;
    say(this.#text, text);
    say(this.#far, percent === null ? "" : ` ${Math.round(percent)} % done.`); // grows, so it is not read out
    this.#bar.hidden = percent === null;
    if (percent !== null) this.#bar.value = percent;
  }
}

/** @param {string | undefined} p */
function provider(p) {
  switch (p) {
    case "cpu":
      return "CPU";
    case "cuda":
      return "CUDA";
    case "tensorrt":
      return "TensorRT";
    default:
      return p ?? "";
  }
}

/** @param {Health | null} h */
function chip(h) {
  if (!h) return "hub not reached";
  return { None: "no engine", DOWNLOADING: "downloading", CONVERTING: "preparing", ENABLED: "ready", ERROR: "engine failed" }[h.aiAvailability];
}

/**
 * How bad it is, in words, and how far it is.
 * @param {Health | null} h
 * @returns {["ok" | "busy" | "bad", string, number | null]}
 */
export function explain(h) {
  if (!h) return ["bad", "The hub does not answer. This page tries again by itself; a running session goes on when it is back.", null];
  if (h.draining) return ["busy", "The hub is being restarted. Sessions go on by themselves in the next one.", null];
  const percent = h.percent ?? null;
  switch (h.aiAvailability) {
    case "ENABLED":
      if (h.upgrade) return ["ok", `Detecting. A faster engine (${provider(h.upgrade.to)}) is being prepared meanwhile.`, h.upgrade.percent ?? null];
      return ["ok", "", null];
    case "DOWNLOADING":
      return ["busy", `The model is being downloaded. What you send now waits, and is looked at when it is there.`, percent];
    case "CONVERTING":
      return ["busy", `The model is being prepared for this machine. What you send now waits, and is looked at then.`, percent];
    case "ERROR":
      return ["bad", `The engine cannot work${h.reason ? `: ${h.reason}` : "."} What you send waits; the hub's log says more.`, null];
    default:
      return ["busy", `No engine is loaded yet${h.reason ? `: ${h.reason}` : "."} What you send now waits.`, null];
  }
}
