// Below the stage: the time line, with how much was found when, and how far it is known.

import { byId, clock } from "./dom.js";

/** @typedef {import("./player.js").Player} Player */
/** @typedef {import("./results.js").Results} Results */

export class TimeLine {
  #range = byId("seek", HTMLInputElement);
  #canvas = byId("density", HTMLCanvasElement);
  #time = byId("time", HTMLElement);
  #play = byId("play", HTMLButtonElement);
  #results;
  /** @type {Player | null} */
  player = null;
  #drawn = -1;
  #dragging = false;

  /** @param {Results} results */
  constructor(results) {
    this.#results = results;
    this.#play.addEventListener("click", () => this.toggle());
    byId("back", HTMLButtonElement).addEventListener("click", () => this.player?.step(-1));
    byId("forth", HTMLButtonElement).addEventListener("click", () => this.player?.step(1));
    this.#range.addEventListener("input", () => {
      this.#dragging = true;
      this.player?.seek(Number(this.#range.value));
    });
    this.#range.addEventListener("change", () => {
      this.#dragging = false;
    });
    new ResizeObserver(() => {
      this.#drawn = -1;
      this.show();
    }).observe(this.#canvas);
  }

  toggle() {
    if (!this.player) return;
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  show() {
    const p = this.player;
    if (!p) return;
    const label = p.playing ? "Pause" : "Play";
    if (this.#play.getAttribute("aria-label") !== label) {
      this.#play.setAttribute("aria-label", label);
      this.#play.dataset.icon = p.playing ? "pause" : "play";
    }
    this.#range.max = String(p.duration);
    if (!this.#dragging) this.#range.value = String(p.time);
    this.#range.setAttribute("aria-valuetext", `${clock(p.time)} of ${clock(p.duration)}`);
    this.#time.textContent = `${clock(p.time)} / ${clock(p.duration)}`;
    this.#density(p);
  }

  /** @param {Player} p */
  #density(p) {
    const n = this.#results.list.length;
    if (n === this.#drawn || p.duration === 0) return;
    this.#drawn = n;
    const width = Math.max(1, Math.round(this.#canvas.clientWidth));
    const height = 28;
    this.#canvas.width = width;
    this.#canvas.height = height;
    const c = this.#canvas.getContext("2d");
    if (!c) return;
    const { list, first } = this.#results;
    const most = list.reduce((m, r) => Math.max(m, r.detections.length), 1);
    const x = (/** @type {number} */ pts) => (width * (pts - (first?.pts_ms ?? 0))) / 1000 / p.duration;
    const style = getComputedStyle(this.#canvas);
    c.fillStyle = style.getPropertyValue("--soft");
    c.fillRect(0, height - 2, (width * p.known) / p.duration, 2);
    c.fillStyle = style.getPropertyValue("--c1");
    list.forEach((r, i) => {
      const h = ((height - 4) * r.detections.length) / most;
      const from = x(r.pts_ms);
      const next = list[i + 1];
      const gap = next ? x(next.pts_ms) - from : 4;
      c.fillRect(from, height - 2 - h, Math.max(1, gap > 3 ? Math.min(gap - 1, 32) : gap), h);
    });
  }

  reset() {
    this.#drawn = -1;
    this.player = null;
    this.#canvas.width = 1;
  }
}
