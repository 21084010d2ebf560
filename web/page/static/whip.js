// A session whose media goes over WebRTC (WHIP, RFC 9725) and whose events come on the
// data channel of the same connection. To the page it is as a Session of session.js.

import { call } from "./access.js";
import { Changes } from "./changes.js";
import { Track } from "./track.js";

/** @typedef {import("./session.js").Link} Link */

const handshake = 8000; // ms, from the first question until media can flow
const startBitrate = 2000; // kbit/s: a browser's own guess makes the first seconds tiny
const mostBitrate = 4_000_000;
const longestWait = 5000; // ms, between two tries
const patience = 10 * 60_000; // ms: as long as the hub keeps a session without its camera

/** The hub has answered, and another try would be answered the same. */
class Refused extends Error {}

/** The hub has answered that the session has ended. */
class Over extends Refused {}

/** The hub has answered that it has no room now. */
class Busy extends Error {}

export class Whip {
  #query;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** @type {RTCDataChannel | null} */
  #channel = null;
  #resource = "";
  #left = false;
  #worked = false; // the media port was reached
  #finished = false;
  #tries = 0;
  #lostAt = 0;
  #timer = 0;
  #changes = new Changes();
  #attempt = 0; // counts what was begun or given up
  /** @type {Track} */
  way;
  id = "";
  ended = false;
  feeding = true;
  sent = 0;
  acked = 0;

  /** Whether anything was sent. */
  get began() {
    return this.#worked;
  }

  /** @type {(m: HubMessage) => void} */
  onmessage = () => {};
  /** @type {(l: Link) => void} */
  onlink = () => {};
  /** Another connection needs another way. @type {(way: Track) => void} */
  onway = () => {};
  /** It cannot be done this way. @type {(why: string) => void} */
  onfail = () => {};

  /** @param {Record<string, string>} query as of POST /detect/video */
  constructor(query) {
    this.#query = query;
    this.way = new Track();
  }

  open() {
    this.onlink({ state: "connecting" });
    this.#try();
  }

  #try() {
    let awaited = "the hub does not answer";
    const late = new Promise((_, fail) => {
      this.#timer = window.setTimeout(() => fail(new Error(awaited)), handshake);
    });
    const answered = () => (awaited = "the media port of the hub is not reached");
    const attempt = ++this.#attempt;
    const stale = () => this.#left || attempt !== this.#attempt;
    Promise.race([this.#connect(stale, answered), late]).catch((e) => stale() || this.#lost(e));
  }

  /**
   * @param {() => boolean} stale whether what comes now is of no use any more
   * @param {() => void} answered
   */
  async #connect(stale, answered) {
    const iceServers = await helpers();
    if (stale()) return;
    const pc = (this.#pc = new RTCPeerConnection({ iceServers }));
    const way = this.way;
    const channel = (this.#channel = pc.createDataChannel("detections.v1"));
    channel.onmessage = (e) => {
      if (pc === this.#pc) this.#take(JSON.parse(e.data));
    };
    const { sender } = pc.addTransceiver(way.track, { direction: "sendonly", sendEncodings: [{ maxBitrate: mostBitrate }] });
    way.follow(sender);
    const connected = new Promise((done, fail) => {
      pc.onconnectionstatechange = () => {
        if (pc !== this.#pc) return;
        if (pc.connectionState === "connected") done(null);
        if (pc.connectionState === "failed") fail(new Error("the connection failed")), this.#lost(new Error("the connection failed"));
      };
    });
    connected.catch(() => {}); // waited for below, unless something fails before
    await pc.setLocalDescription();
    await gathered(pc);
    if (stale()) return;
    const url = new URL("/v1/whip", location.href);
    for (const [k, v] of Object.entries(this.id ? { session: this.id } : this.#query)) url.searchParams.set(k, v);
    const answer = await call(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription?.sdp ?? "" });
    if (answer.status !== 201) {
      const { code, detail: why = `WHIP: ${answer.status}` } = await answer.json().catch(() => ({}));
      if (code === "overloaded") throw new Busy(why);
      if (answer.status === 409) throw new Over(why);
      const token = answer.status === 401 && this.#worked; // it is asked for another one
      const passes = token || (code !== "not_offered" && (answer.status >= 500 || answer.status === 429));
      throw passes ? new Error(why) : new Refused(why);
    }
    if (stale() && !this.#left) return;
    this.#resource = answer.headers.get("Location") ?? "";
    this.id = answer.headers.get("Session") ?? this.id;
    if (this.#left) return this.finish();
    answered();
    await pc.setRemoteDescription({ type: "answer", sdp: faster(await answer.text()) });
    await connected;
    if (stale()) return;
    clearTimeout(this.#timer);
    this.#tries = 0;
    this.#worked = true;
    way.ready = true;
    this.onlink({ state: "open" });
    if (this.#finished) this.finish(); // the hub was away when it was told
  }

  /** @param {HubMessage} m */
  #take(m) {
    if (m.type === "end") this.ended = true;
    if (m.type === "started" || m.type === "state") this.#say(this.#changes.message);
    this.#changes.heard(m);
    if (m.type === "goaway") this.#lost(null, m.retry_ms);
    else if (m.type === "error" && m.fatal && m.temporary) this.#lost(new Busy(m.message));
    else this.onmessage(m);
    if (this.ended) this.leave();
  }

  /**
   * Comes back, or gives up if it never worked.
   * @param {unknown} why
   * @param {number} [wait] in ms
   */
  #lost(why, wait = Math.min(250 * 2 ** this.#tries, longestWait)) {
    clearTimeout(this.#timer);
    if (this.#left || this.ended) return;
    this.#attempt++;
    this.#pc?.close();
    this.#pc = null;
    this.way.ready = false;
    if (this.#tries++ === 0) this.#lostAt = performance.now();
    const hope = (this.#worked || why instanceof Busy) && !(why instanceof Refused);
    if (!hope || performance.now() - this.#lostAt > patience) return this.#giveUp(why);
    this.onlink(why instanceof Busy ? { state: "waiting", wait: "busy", why: why.message } : { state: "waiting", wait: why === null ? "goaway" : "lost" });
    this.#timer = window.setTimeout(() => {
      this.way = new Track();
      this.onway(this.way);
      this.#try();
    }, wait);
  }

  /** @param {unknown} why */
  #giveUp(why) {
    this.#left = true;
    if (this.#finished || why instanceof Over) return this.onlink({ state: "closed", why: "The connection was lost before the hub told the end. What was found is kept." });
    if (!this.#worked) this.finish(); // another session takes its place
    this.onfail(why instanceof Error ? why.message : "the connection is lost");
  }

  #say(/** @type {Record<string, unknown> | null} */ m) {
    if (m && this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(m));
  }

  /** Changes the running session, now or when there is a connection. @param {Record<string, unknown>} change */
  configure(change) {
    if (this.ended) return;
    this.#changes.add(change);
    this.#say(this.#changes.message);
  }

  cancel() {
    this.#say({ type: "cancel" });
  }

  /** No more pictures come. The hub tells the end on the channel before it closes. */
  finish() {
    this.#finished = true;
    this.way.ready = false;
    if (this.#resource) this.#remove(this.#resource);
  }

  /** Until the hub has heard it: its session has no other end while the media port is reached. @param {string} resource */
  async #remove(resource) {
    let [url, method] = [resource, "DELETE"];
    for (let wait = 250, from = performance.now(); performance.now() - from < patience; wait = Math.min(2 * wait, longestWait)) {
      const answer = await call(url, { method, keepalive: true }).catch(() => null);
      if (this.ended) return;
      const gone = answer?.status === 404 || answer?.status === 501; // a hub that was restarted knows the session only
      if (gone && this.#left && method === "DELETE") [url, method] = [`/v1/sessions/${this.id}/cancel`, "POST"];
      else if (gone || (answer && answer.status < 500 && answer.status !== 401 && answer.status !== 429)) return;
      else await new Promise((done) => setTimeout(done, wait));
    }
  }

  leave() {
    this.#left = true;
    clearTimeout(this.#timer);
    this.#pc?.close();
    this.#pc = null;
  }
}

/** STUN and TURN servers, of which the hub tells where it cannot be reached directly. */
async function helpers() {
  const links = (await call("/v1/whip", { method: "OPTIONS" })).headers.get("Link") ?? "";
  return [...links.matchAll(/<([^>]+)>((?:; *[\w-]+="(?:[^"\\]|\\.)*")*)/g)].map(([, urls = "", more = ""]) => {
    const said = (/** @type {string} */ name) => more.match(new RegExp(`; *${name}="((?:[^"\\\\]|\\\\.)*)"`))?.[1]?.replaceAll(/\\(.)/g, "$1");
    return { urls, username: said("username"), credential: said("credential") };
  });
}

/** Waits until the own addresses are known, not for those that take long. */
/** @param {RTCPeerConnection} pc */
function gathered(pc) {
  return new Promise((done) => {
    if (pc.iceGatheringState === "complete") return done(null);
    pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && done(null));
    setTimeout(done, 1000);
  });
}

/** Lets Chromium begin with a picture of full size. @param {string} sdp */
function faster(sdp) {
  const formats = [...sdp.matchAll(/^a=rtpmap:(\d+) (?:VP8|VP9|H264|AV1)\/90000\r?$/gm)].map((m) => m[1]);
  for (const f of formats) {
    const line = new RegExp(`^a=fmtp:${f} .*?(?=\\r?$)`, "m");
    const wish = `x-google-start-bitrate=${startBitrate}`;
    sdp = line.test(sdp) ? sdp.replace(line, (l) => `${l};${wish}`) : sdp.replace(new RegExp(`^a=rtpmap:${f} .*\\r?\\n`, "m"), (l) => `${l}a=fmtp:${f} ${wish}\r\n`);
  }
  return sdp;
}
