// Beside the stage: what to show, and what is on the picture now.

import { colour } from "./draw.js";
import { byId, count, make, say } from "./dom.js";

/** @typedef {import("./results.js").Results} Results */
/** @typedef {import("./stage.js").Stage} Stage */

const settle = 250; // ms after the last move of the slider
const rowsMost = 12;

export class Panel {
  #results;
  #stage;
  #threshold = byId("threshold", HTMLInputElement);
  #sample = byId("sample", HTMLSelectElement);
  #track = byId("track", HTMLInputElement);
  #chips = byId("classes", HTMLElement);
  #noClasses = byId("no-classes", HTMLElement);
  #rows = byId("objects", HTMLTableSectionElement);
  #summary = byId("summary", HTMLElement);
  /** @type {Detection[]} */
  #listed = [];
  #timer = 0;
  #stale = false;
  /** @type {(change: Record<string, unknown>) => void} */
  onconfigure = () => {};
  /** Something is drawn otherwise now. */
  onfilter = () => {};
  /** Now and then, while something changes. */
  onrefresh = () => {};

  /** @param {Results} results @param {Stage} stage */
  constructor(results, stage) {
    this.#results = results;
    this.#stage = stage;
    this.#threshold.addEventListener("input", () => {
      this.#showThreshold();
      results.threshold = this.threshold;
      this.onfilter();
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.onconfigure({ detect: { threshold: this.threshold } }), settle);
    });
    this.#sample.addEventListener("change", () => this.onconfigure({ sample: this.sample }));
    this.#track.addEventListener("change", () => this.onconfigure({ track: this.track }));
    byId("boxes", HTMLInputElement).addEventListener("change", (e) => {
      stage.showBoxes = /** @type {HTMLInputElement} */ (e.target).checked;
      this.onfilter();
    });
    this.#showThreshold();
    setInterval(() => this.#refresh(), 250);
  }

  get threshold() {
    return Number(this.#threshold.value) / 100;
  }

  /** @returns {Sample} */
  get sample() {
    const fps = Number(this.#sample.value);
    return fps ? { fps } : { all: true };
  }

  get track() {
    return this.#track.checked;
  }

  get fps() {
    return Number(this.#sample.value);
  }

  #showThreshold() {
    say(byId("threshold-value", HTMLOutputElement), `${this.#threshold.value} %`);
    this.#threshold.setAttribute("aria-valuetext", `${this.#threshold.value} percent`);
  }

  /** The hub says what is in force. @param {Configured} c */
  configured(c) {
    if (!this.#timer || document.activeElement !== this.#threshold) return;
    say(byId("threshold-note", HTMLElement), c.frame > 0 ? `in force from frame ${c.frame}` : "");
  }

  /** Something may have changed; shown at the next opportunity. */
  touch() {
    this.#stale = true;
  }

  #refresh() {
    if (!this.#stale || document.hidden) return;
    this.#stale = false;
    this.#showClasses();
    this.#showObjects();
    this.onrefresh();
  }

  #showClasses() {
    const counts = [...this.#results.counts].filter(([label, n]) => n > 0 || this.#results.hidden.has(label)).sort((a, b) => b[1] - a[1]);
    this.#noClasses.hidden = counts.length > 0;
    const known = new Map([...this.#chips.querySelectorAll("button")].map((b) => [b.dataset.label ?? "", b]));
    for (const [label, n] of counts) {
      const chip = known.get(label) ?? this.#chip(label);
      known.delete(label);
      const number = chip.querySelector(".count");
      if (number instanceof HTMLElement) say(number, n.toLocaleString("en"));
    }
    for (const gone of known.values()) gone.remove();
  }

  /** @param {string} label */
  #chip(label) {
    const key = make("span", { class: "key" });
    key.style.background = colour(this.#results.classOf(label));
    const chip = make("button", { type: "button", class: "chip", "data-label": label, "aria-pressed": "true" }, key, label, " ", make("span", { class: "count" }));
    chip.addEventListener("click", () => {
      const hide = !this.#results.hidden.has(label);
      if (hide) this.#results.hidden.add(label);
      else this.#results.hidden.delete(label);
      chip.setAttribute("aria-pressed", String(!hide));
      this.onfilter();
    });
    this.#chips.append(chip);
    return chip;
  }

  #showObjects() {
    const r = this.#stage.result ?? this.#stage.held;
    const shown = (r?.detections ?? []).filter((d) => this.#results.shows(d)).sort((a, b) => b.confidence - a.confidence);
    const hidden = (r?.detections.length ?? 0) - shown.length;
    let text = "Nothing is looked at yet.";
    if (r?.error) text = `Frame ${r.frame} could not be looked at (${r.error.code}).`;
    else if (r) text = `${this.#stage.result ? "Frame" : "Last was frame"} ${r.frame}: ${count(shown.length, "object")}${hidden > 0 ? `, ${hidden} hidden` : ""}`;
    say(this.#summary, text);
    this.#showRows(shown.slice(0, rowsMost));
  }

  /** Rows that stay are not made again: a new one below the pointer is entered, which draws again. @param {Detection[]} list */
  #showRows(list) {
    if (list.length === this.#listed.length && list.every((d, i) => d === this.#listed[i])) return;
    this.#listed = list;
    this.#rows.replaceChildren(...list.map((d) => this.#row(d)));
  }

  /** @param {Detection} d */
  #row(d) {
    const key = make("span", { class: "key" });
    key.style.background = colour(d.class);
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--part", String(d.confidence));
    const row = make("tr", {},
      make("th", { scope: "row" }, key, d.track ? `${d.label} #${d.track}` : d.label),
      make("td", {}, bar, `${Math.round(d.confidence * 100)} %`),
      make("td", { class: "place" }, d.box.map((v) => Math.round(v)).join(", ")));
    row.addEventListener("pointerenter", () => this.#choose(d));
    row.addEventListener("pointerleave", () => this.#choose(null));
    return row;
  }

  /** @param {Detection | null} d */
  #choose(d) {
    this.#stage.chosen = d;
    this.#stage.draw();
  }

  clear() {
    this.#results.hidden.clear();
    this.#chips.replaceChildren();
    this.#showRows([]);
    say(byId("threshold-note", HTMLElement), "");
    this.touch();
  }
}
