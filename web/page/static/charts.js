// Four small charts of the last minute. Each has its newest values as text beside it:
// the picture is for the eye, the numbers are for everybody.

import { make, say } from "./dom.js";

const span = 60; // s that are shown
const keep = span * 4;

/** @typedef {{label: string, token: string}} Line a series, and the CSS variable of its colour */
/** @typedef {{at: number, values: number[]}} Point */

export class Chart {
  #canvas = document.createElement("canvas");
  /** @type {Point[]} */
  #points = [];
  /** @type {HTMLElement[]} */
  #values = [];
  #lines;
  #options;

  /**
   * @param {HTMLElement} parent
   * @param {string} title
   * @param {Line[]} lines
   * @param {{unit: string, stacked?: boolean, digits?: number, floor?: number}} options
   */
  constructor(parent, title, lines, options) {
    this.#lines = lines;
    this.#options = options;
    const list = make("dl", { class: "legend" });
    for (const l of lines) {
      const key = make("span", { class: "key" });
      key.style.background = `var(${l.token})`;
      const value = make("dd", {}, "–");
      list.append(make("div", {}, make("dt", {}, key, l.label), value));
      this.#values.push(value);
    }
    this.#canvas.setAttribute("aria-hidden", "true");
    parent.append(make("figure", { class: "chart" }, make("figcaption", {}, title), this.#canvas, list));
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {number[]} values one for each line; NaN: not known now */
  add(values) {
    this.#points.push({ at: performance.now() / 1000, values });
    if (this.#points.length > keep) this.#points.shift();
    values.forEach((v, i) => {
      const e = this.#values[i];
      if (e) say(e, Number.isNaN(v) ? "–" : `${v.toFixed(this.#options.digits ?? 0)}${this.#options.unit}`);
    });
    this.draw();
  }

  clear() {
    this.#points = [];
    for (const v of this.#values) say(v, "–");
    this.draw();
  }

  draw() {
    const box = this.#canvas.getBoundingClientRect();
    if (box.width === 0) return;
    const k = Math.min(devicePixelRatio, 2);
    this.#canvas.width = Math.round(box.width * k);
    this.#canvas.height = Math.round(box.height * k);
    const c = this.#canvas.getContext("2d");
    if (!c) return;
    c.scale(k, k);
    const style = getComputedStyle(this.#canvas);
    const stacks = this.#points.map((p) => ({ at: p.at, tops: this.#tops(p.values) }));
    const top = nice(Math.max(this.#options.floor ?? 1, ...stacks.flatMap((s) => s.tops).filter((v) => !Number.isNaN(v))));
    this.#scale(c, box, top, style);
    const now = performance.now() / 1000;
    const x = (/** @type {number} */ at) => box.width * (1 - (now - at) / span);
    const y = (/** @type {number} */ v) => box.height - 1 - ((box.height - 4) * v) / top;
    for (let i = this.#lines.length - 1; i >= 0; i--) {
      const line = this.#lines[i];
      if (line) this.#line(c, stacks.map((s) => [x(s.at), y(s.tops[i] ?? NaN)]), style.getPropertyValue(line.token), box.height);
    }
  }

  /** @param {number[]} values */
  #tops(values) {
    if (!this.#options.stacked) return values;
    let sum = 0;
    return values.map((v) => (sum += Number.isNaN(v) ? 0 : v));
  }

  /**
   * @param {CanvasRenderingContext2D} c
   * @param {DOMRect} box
   * @param {number} top
   * @param {CSSStyleDeclaration} style
   */
  #scale(c, box, top, style) {
    c.strokeStyle = style.getPropertyValue("--line");
    c.fillStyle = style.getPropertyValue("--faint");
    c.lineWidth = 1;
    c.font = "10px system-ui, sans-serif";
    c.textBaseline = "top";
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(box.height - 1 - (box.height - 4) * part) + 0.5;
      c.beginPath();
      c.moveTo(0, y);
      c.lineTo(box.width, y);
      c.stroke();
    }
    c.fillText(`${top}${this.#options.unit}`, 2, 6);
  }

  /**
   * @param {CanvasRenderingContext2D} c
   * @param {number[][]} points
   * @param {string} ink
   * @param {number} bottom
   */
  #line(c, points, ink, bottom) {
    const known = /** @type {[number, number][]} */ (points.filter((p) => !Number.isNaN(p[1] ?? NaN)));
    const [first, last] = [known[0], known[known.length - 1]];
    if (!first || !last) return;
    c.beginPath();
    for (const [x, y] of known) c.lineTo(x, y);
    c.strokeStyle = c.fillStyle = ink;
    c.lineWidth = 1.75;
    c.lineJoin = "round";
    c.stroke();
    c.lineTo(last[0], bottom);
    c.lineTo(first[0], bottom);
    c.globalAlpha = this.#options.stacked ? 0.35 : 0.12;
    c.fill();
    c.globalAlpha = 1;
  }
}

/** The next round number. @param {number} v */
function nice(v) {
  const p = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 4, 5, 10].map((m) => m * p).find((n) => n >= v - 1e-9) ?? 10 * p;
}
