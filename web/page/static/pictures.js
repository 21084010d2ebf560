// The way over the WebSocket, for browsers and hubs without WebRTC: JPEGs in a stream
// of Matroska, each with its time, which its result tells.

import { cluster, header } from "./matroska.js";

/** @typedef {import("./session.js").Session} Session */

const quality = 0.85;
const underWay = 4; // pictures sent and not answered; more would only grow old
const settleAfter = 1000; // ms after which a picture without an answer counts as dropped

export class Pictures {
  #session;
  #begun = false; // on this connection
  #encoding = false;
  /** Times of those that are under way. @type {number[]} */
  #sent = [];
  #last = 0;
  widest = 960;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /** Another connection begins another stream. */
  begin() {
    this.#begun = false;
    this.#sent = [];
  }

  free() {
    return this.#session.connected && !this.#encoding && this.#sent.filter((t) => t > this.#last - settleAfter).length < underWay;
  }

  /** @param {HTMLCanvasElement} picture @param {number} time */
  async send(picture, time) {
    this.#encoding = true;
    this.#last = time;
    try {
      const blob = await new Promise((/** @type {(b: Blob | null) => void} */ done) => picture.toBlob(done, "image/jpeg", quality));
      if (!blob) return null;
      const jpeg = new Uint8Array(await blob.arrayBuffer());
      if (!this.#begun && !this.#session.send(header(picture.width, picture.height))) return null;
      this.#begun = true; // a picture of another size says so itself
      if (!this.#session.send(cluster(time, jpeg))) return null;
      this.#sent.push(time);
      return time;
    } finally {
      this.#encoding = false;
    }
  }

  /** @param {Result} r */
  key(r) {
    const time = Math.round(r.pts_ms);
    this.#sent = this.#sent.filter((t) => t > time);
    return time;
  }

  close() {}
}
