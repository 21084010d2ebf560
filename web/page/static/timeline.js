// Below the stage: the time line, with how much was found when, and how far it is known.

import { Density } from "./density.js";
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
  #density = new Density();
  #drawn = "";
  #dragging = false;
  #soon = 0;

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
    new ResizeObserver(() => this.show()).observe(this.#canvas);
  }

  toggle() {
    if (!this.player) return;
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  /** Something changed. It is drawn with the next picture of the screen, once for all until then. */
  show() {
    this.#soon ||= requestAnimationFrame(() => {
      this.#soon = 0;
      if (this.player) this.#draw(this.player);
    });
  }

  /** @param {Player} p */
  #draw(p) {
    const label = p.playing ? "Pause" : "Play";
    if (this.#play.getAttribute("aria-label") !== label) {
      this.#play.setAttribute("aria-label", label);
      this.#play.dataset.icon = p.playing ? "pause" : "play";
    }
    this.#range.max = String(p.duration);
    if (!this.#dragging) this.#range.value = String(p.time);
    this.#range.setAttribute("aria-valuetext", `${clock(p.time)} of ${clock(p.duration)}`);
    this.#time.textContent = `${clock(p.time)} / ${clock(p.duration)}`;
    if (p.duration > 0) this.#drawDensity(p);
  }

  /** @param {Player} p */
  #drawDensity(p) {
    const { list } = this.#results;
    const width = Math.max(1, Math.round(this.#canvas.clientWidth));
    const height = 28;
    const what = `${width} ${p.duration} ${p.known} ${list.length}`;
    if (what === this.#drawn) return;
    this.#drawn = what;
    this.#canvas.width = width;
    this.#canvas.height = height;
    const c = this.#canvas.getContext("2d");
    if (!c) return;
    const columns = this.#density.columns(list, width, p.duration);
    const most = Math.max(1, ...columns);
    const style = getComputedStyle(this.#canvas);
    c.fillStyle = style.getPropertyValue("--soft");
    c.fillRect(0, height - 2, (width * p.known) / p.duration, 2);
    c.fillStyle = style.getPropertyValue("--c1");
    columns.forEach((n, x) => {
      const h = ((height - 4) * n) / most;
      if (n > 0) c.fillRect(x, height - 2 - h, 1, h);
    });
  }

  reset() {
    this.#drawn = "";
    this.#density = new Density();
    this.player = null;
    this.#canvas.width = 1;
  }
}
