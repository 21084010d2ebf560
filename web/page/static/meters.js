// What the charts show: counted here from results, or asked of the hub's metrics.

import { call, refused } from "./access.js";
import { Chart } from "./charts.js";

const stages = /** @type {const} */ (["jitter", "receive", "decode", "queue", "infer"]);

export class Meters {
  #rate;
  #latency;
  #engine;
  #drops;
  #results = 0;
  #pictures = 0;
  /** @type {Timing[]} */
  #timings = [];
  /** @type {number[]} */
  #seen = [];
  #last = performance.now();
  /** @type {Map<string, number> | null} */
  #metrics = null;
  /** The hub tells its metrics to whom we are. */
  #told = true;
  /** @type {Accounting | null} */
  accounting = null;
  active = false;
  /** Pictures that this page did not send. */
  skipped = () => 0;

  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.#rate = new Chart(parent, "Frames per second", [
      { label: "Results", token: "--c1" }, { label: "Shown", token: "--c2" },
    ], { unit: "", digits: 1, floor: 5 });
    this.#latency = new Chart(parent, "Latency by stage", [
      { label: "Wait for packets", token: "--c6" }, { label: "Wait for the decoder", token: "--c4" }, { label: "Decode", token: "--c2" }, { label: "Queue", token: "--c3" },
      { label: "Infer", token: "--c1" }, { label: "Way and drawing", token: "--c5" },
    ], { unit: " ms", stacked: true, floor: 20 });
    this.#engine = new Chart(parent, "Engine, all sessions", [
      { label: "Images in a batch", token: "--c1" }, { label: "Sessions in line", token: "--c3" },
    ], { unit: "", digits: 1, floor: 2 });
    this.#drops = new Chart(parent, "Frames without a result", [
      { label: "Not picked", token: "--c2" }, { label: "Replaced", token: "--c3" }, { label: "Too old", token: "--c4" },
      { label: "Over the limit", token: "--c1" }, { label: "Failed", token: "--c6" }, { label: "Not sent", token: "--c5" },
    ], { unit: "", floor: 5 });
    setInterval(() => this.#tick(), 1000);
  }

  reset() {
    this.accounting = null;
    this.#results = this.#pictures = 0;
    this.#timings = this.#seen = [];
    for (const c of [this.#rate, this.#latency, this.#engine, this.#drops]) c.clear();
  }

  /** @param {Result} r */
  result(r) {
    this.#results++;
    this.#timings.push(r.timing);
  }

  picture() {
    this.#pictures++;
  }

  /** Capture to drawn. @param {number} ms */
  latency(ms) {
    this.#seen.push(ms);
  }

  #tick() {
    const now = performance.now();
    const seconds = (now - this.#last) / 1000;
    this.#last = now;
    if (!this.active || document.hidden) {
      this.#results = this.#pictures = 0;
      this.#timings = this.#seen = [];
      return;
    }
    this.#rate.add([this.#results / seconds, this.#pictures / seconds]);
    const parts = stages.map((s) => median(this.#timings.map((t) => t[s] ?? 0)));
    const total = median(this.#seen);
    this.#latency.add([...parts, Number.isNaN(total) ? NaN : Math.max(0, total - parts.reduce((a, b) => a + (b || 0), 0))]);
    this.#results = this.#pictures = 0;
    this.#timings = [];
    this.#seen = [];
    const a = this.accounting;
    if (a) {
      const { late = 0, rate_limited = 0, ...undecoded } = a.undecoded;
      const limited = (a.dropped.rate_limited ?? 0) + rate_limited;
      this.#drops.add([a.skipped, a.dropped.superseded ?? 0, (a.dropped.stale ?? 0) + late, limited, sum(a.failed) + sum(undecoded), this.skipped()]);
    }
    this.#ask().catch(() => {});
  }

  async #ask() {
    if (!this.#told || refused()) return;
    const answer = await call("/metrics", { signal: AbortSignal.timeout(900) });
    this.#told = answer.status !== 403 && answer.status !== 404;
    if (!answer.ok) return;
    const now = parse(await answer.text());
    const before = this.#metrics;
    this.#metrics = now;
    const grown = (/** @type {string} */ n) => (now.get(n) ?? 0) - (before?.get(n) ?? 0);
    const runs = grown("detections_batch_images_count");
    if (before) this.#engine.add([runs > 0 ? grown("detections_batch_images_sum") / runs : NaN, now.get("detections_ready_list") ?? NaN]);
  }
}

/** Metrics without labels, of Prometheus' text format. @param {string} text */
function parse(text) {
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const m of text.matchAll(/^(detections_\w+) (\S+)$/gm)) found.set(m[1] ?? "", Number(m[2]));
  return found;
}

/** @param {number[]} list */
function median(list) {
  const sorted = list.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

/** @param {Record<string, number>} r */
function sum(r) {
  return Object.values(r).reduce((a, b) => a + b, 0);
}
