// The way over the WebSocket, for browsers and hubs without WebRTC: JPEGs one by one,
// each announced with its time, which its result tells.

/** @typedef {import("./session.js").Session} Session */

const quality = 0.85;
const underWay = 4; // pictures sent and not answered; more would only grow old
const settleAfter = 1000; // ms after which a picture without an answer counts as dropped

export class Pictures {
  #session;
  #encoding = false;
  /** Times of those that are under way. @type {number[]} */
  #sent = [];
  widest = 960;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  free() {
    const now = performance.now();
    this.#sent = this.#sent.filter((t) => t > now - settleAfter);
    return this.#session.connected && !this.#encoding && this.#sent.length < underWay;
  }

  /** @param {HTMLCanvasElement} picture @returns {Promise<number | null>} */
  async send(picture) {
    this.#encoding = true;
    const time = Math.round(performance.now());
    try {
      const blob = await new Promise((/** @type {(b: Blob | null) => void} */ done) => picture.toBlob(done, "image/jpeg", quality));
      if (!blob || !this.#session.sendPicture(await blob.arrayBuffer(), time)) return null;
      this.#sent.push(time);
      return time;
    } finally {
      this.#encoding = false;
    }
  }

  /** @param {Result} r */
  key(r) {
    const time = r.client_ts ?? 0;
    this.#sent = this.#sent.filter((t) => t > time);
    return r.client_ts;
  }

  close() {}
}
