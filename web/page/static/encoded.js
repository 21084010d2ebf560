// The way over the WebSocket for browsers that let pages encode video (WebCodecs): a
// stream in IVF, in which each picture has the time that its result tells as pts_ms.
// It takes an eighth of the bytes of JPEGs. A MediaRecorder would not do: it gives a
// picture only when the next one comes, and does not say which one it is.

/** @typedef {import("./session.js").Session} Session */
/** @typedef {{name: string, mark: string}} Codec as WebCodecs and as IVF call it */

/** @type {Codec[]} */
const codecs = [{ name: "vp8", mark: "VP80" }, { name: "vp09.00.31.08", mark: "VP90" }, { name: "av01.0.05M.08", mark: "AV01" }];
const bitrate = 2_500_000;
const keyEvery = 5000; // ms: who begins in the middle need not go back further
const underWay = 4; // pictures sent and not answered; more would only grow old
const settleAfter = 1000; // ms after which a picture that has arrived and has no answer counts as dropped

/** @param {Codec} codec @param {number} width @param {number} height @returns {VideoEncoderConfig} */
const settings = (codec, width, height) => ({ codec: codec.name, width, height, bitrate, framerate: 30, latencyMode: "realtime" });

export class Encoded {
  #session;
  #codec;
  /** @type {VideoEncoder | null} */
  #encoder = null;
  /** That the stream was begun on; another one needs another stream. */
  #connection = 0;
  #size = "";
  #began = performance.now();
  #last = -1; // time of the last picture: they only grow, also over connections
  #key = 0; // time of the last key picture
  /** Times of those that are under way. @type {number[]} */
  #sent = [];
  widest = 1280;

  /** It cannot be done this way. @type {(why: string) => void} */
  onfail = () => {};

  /** @param {Session} session @param {Codec} codec */
  constructor(session, codec) {
    this.#session = session;
    this.#codec = codec;
  }

  /** What this browser encodes. @returns {Promise<Codec | null>} */
  static async codec() {
    if (!("VideoEncoder" in window)) return null;
    for (const c of codecs) {
      const answer = await VideoEncoder.isConfigSupported(settings(c, 1280, 720)).catch(() => null);
      if (answer?.supported) return c;
    }
    return null;
  }

  get #time() {
    return Math.round(performance.now() - this.#began);
  }

  free() {
    const s = this.#session;
    if (s.unacked === 0) this.#sent = this.#sent.filter((t) => t > this.#time - settleAfter);
    return s.connected && (this.#encoder?.encodeQueueSize ?? 0) === 0 && this.#sent.length < underWay;
  }

  /** @param {HTMLCanvasElement} picture @returns {Promise<number | null>} */
  async send(picture) {
    const anew = this.#connection !== this.#session.connection;
    if (anew) this.#begin(picture.width, picture.height);
    const e = this.#encoder;
    if (!e || e.state === "closed") return null;
    const size = `${picture.width}×${picture.height}`;
    const time = Math.max(this.#last + 1, this.#time);
    const keyFrame = anew || size !== this.#size || time >= this.#key + keyEvery;
    if (size !== this.#size) e.configure(settings(this.#codec, picture.width, picture.height));
    if (keyFrame) this.#key = time;
    this.#size = size;
    this.#last = time;
    const frame = new VideoFrame(picture, { timestamp: time * 1000 });
    e.encode(frame, { keyFrame });
    frame.close();
    this.#sent.push(time);
    return time;
  }

  /** Another connection is another stream. @param {number} width @param {number} height */
  #begin(width, height) {
    this.close();
    this.#connection = this.#session.connection;
    const e = (this.#encoder = new VideoEncoder({
      output: (chunk) => {
        if (e === this.#encoder && this.#connection === this.#session.connection) this.#session.sendMedia(unit(chunk));
      },
      error: (why) => {
        if (e === this.#encoder) this.onfail(why.message);
      },
    }));
    this.#session.sendMedia(head(this.#codec, width, height));
  }

  /** @param {Result} r */
  key(r) {
    this.#sent = this.#sent.filter((t) => t > r.pts_ms);
    return r.pts_ms;
  }

  close() {
    if (this.#encoder?.state !== "closed") this.#encoder?.close();
    this.#encoder = null;
    this.#size = "";
    this.#sent = [];
  }
}

/** The beginning of an IVF file whose times are in ms. @param {Codec} codec @param {number} width @param {number} height */
function head(codec, width, height) {
  const v = new DataView(new ArrayBuffer(32));
  const text = (/** @type {number} */ at, /** @type {string} */ s) => [...s].forEach((c, i) => v.setUint8(at + i, c.charCodeAt(0)));
  text(0, "DKIF");
  v.setUint16(6, 32, true);
  text(8, codec.mark);
  v.setUint16(12, width, true);
  v.setUint16(14, height, true);
  v.setUint32(16, 1000, true);
  v.setUint32(20, 1, true);
  return v.buffer;
}

/** A picture behind its size and time. @param {EncodedVideoChunk} chunk */
function unit(chunk) {
  const v = new DataView(new ArrayBuffer(12 + chunk.byteLength));
  v.setUint32(0, chunk.byteLength, true);
  v.setBigUint64(4, BigInt(Math.round(chunk.timestamp / 1000)), true);
  chunk.copyTo(new Uint8Array(v.buffer, 12));
  return v.buffer;
}
