// The way over WebRTC: pictures are drawn into a canvas whose stream is sent, and the
// RTP time stamp of each is read as it leaves the encoder. Results carry it.
//
// No clock is trusted for which time stamp belongs to which picture: there is one
// picture at a time between the canvas and the encoder's end. Only where one does not
// come out (encoders leave pictures out) there may be two, and these are so far apart
// that their times tell which it was.

const giveUp = 200; // ms after which a picture in the encoder no longer holds up the next

let made = 0;
/** @type {Map<number, Track>} */
const open = new Map();
/** @type {Worker | null} */
let worker = null;

/**
 * The worker that reads the time stamps, one for all tracks: a camera that comes back
 * while the hub restarts could not load its script, and nothing would be sent.
 */
function stamps() {
  if (worker) return worker;
  const w = (worker = new Worker(/** @type {string} */ (script("/page/rtp.js"))));
  w.onmessage = (e) => open.get(e.data.track)?.encoded(e.data.stamp);
  w.onerror = () => {
    if (worker === w) worker = null; // the next one is another try
  };
  return w;
}

/** @typedef {{at: number, done: (key: number | null) => void}} Waiting */

export class Track {
  #canvas = document.createElement("canvas");
  #stream;
  #context;
  #number = ++made;
  /** In the encoder. @type {Waiting[]} */
  #waiting = [];
  /** RTP time minus our time, in ms, of a picture that was alone. */
  #offset = Number.NaN;
  /** @type {CanvasCaptureMediaStreamTrack} */
  track;
  widest = 1280;
  /** Whether the connection is there. */
  ready = false;

  constructor() {
    this.#context = this.#canvas.getContext("2d", { alpha: false });
    this.#canvas.width = 640;
    this.#canvas.height = 480;
    this.#context?.fillRect(0, 0, 1, 1);
    this.#stream = this.#canvas.captureStream(0);
    this.track = /** @type {CanvasCaptureMediaStreamTrack} */ (this.#stream.getVideoTracks()[0]);
    this.track.contentHint = "motion";
    open.set(this.#number, this);
  }

  static get possible() {
    return "RTCPeerConnection" in window && "RTCRtpScriptTransform" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  /** @param {RTCRtpSender} sender */
  follow(sender) {
    sender.transform = new RTCRtpScriptTransform(stamps(), { track: this.#number });
  }

  free() {
    const last = this.#waiting[this.#waiting.length - 1];
    return this.ready && (!last || performance.now() - last.at > giveUp);
  }

  /** @param {HTMLCanvasElement} picture @returns {Promise<number | null>} */
  send(picture) {
    if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
      this.#canvas.width = picture.width;
      this.#canvas.height = picture.height;
    }
    this.#context?.drawImage(picture, 0, 0);
    return new Promise((done) => {
      this.#waiting.push({ at: performance.now(), done });
      if (this.#waiting.length > 4) this.#waiting.shift()?.done(null);
      if (this.track.requestFrame) this.track.requestFrame();
      else /** @type {any} */ (this.#stream).requestFrame(); // Firefox has it there
    });
  }

  /** A picture left the encoder. @param {number} stamp */
  encoded(stamp) {
    const ms = stamp / 90;
    let at = 0;
    if (this.#waiting.length > 1) {
      // Those that wait are at least giveUp apart.
      const far = this.#waiting.map((w) => (Number.isNaN(this.#offset) ? 0 : Math.abs(turn(ms - w.at - this.#offset))));
      at = Number.isNaN(this.#offset) ? this.#waiting.length - 1 : far.indexOf(Math.min(...far));
    }
    const found = this.#waiting[at];
    if (!found) return; // the same picture once more
    if (this.#waiting.length === 1) this.#offset = ms - found.at;
    for (const w of this.#waiting.splice(0, at + 1)) w.done(w === found ? stamp : null);
  }

  /** @param {Result} r */
  key(r) {
    return r.rtp_ts;
  }

  close() {
    this.ready = false;
    this.track.stop();
    open.delete(this.#number);
    for (const w of this.#waiting.splice(0)) w.done(null);
  }
}

const round = 2 ** 32 / 90; // ms after which RTP time begins anew

/** @param {number} ms */
function turn(ms) {
  return ms - round * Math.round(ms / round);
}

/** Worker scripts are named by this policy only. */
const policy = window.trustedTypes?.createPolicy("worker", { createScriptURL: (/** @type {string} */ path) => path });

/** @param {string} path */
function script(path) {
  return policy ? policy.createScriptURL(path) : path;
}
