// The sessions that the hub runs, to be watched.

import { call, refused } from "./access.js";
import { byId, count, make, say } from "./dom.js";

const often = 3000;

/** @typedef {{item: HTMLElement, note: HTMLElement}} Row */

export class SessionList {
  #list = byId("sessions", HTMLUListElement);
  #empty = byId("no-sessions", HTMLElement);
  #shown = "";
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #asking = false;
  /** The session of this page, which is not offered. */
  own = () => "";
  /** @type {(id: string, name: string) => void} */
  onwatch = () => {};

  /** May be called again, to ask at once. */
  start() {
    this.#ask();
    if (this.#asking) return;
    this.#asking = true;
    setInterval(() => {
      if (!document.hidden) this.#ask();
    }, often);
  }

  async #ask() {
    /** @type {SessionInfo[]} */
    let all = [];
    try {
      if (refused()) return;
      const answer = await call("/v1/sessions", { signal: AbortSignal.timeout(2500) });
      if (!answer.ok) return;
      all = (await answer.json()).sessions;
    } catch {
      return; // the banner says that the hub does not answer
    }
    const running = all.filter((s) => s.state !== "ended" && s.session !== this.own()).slice(-8).reverse();
    const now = JSON.stringify(running.map((s) => [s.session, s.state, s.accounting.inferred]));
    if (now === this.#shown) return;
    this.#shown = now;
    this.#show(running);
  }

  /** @param {SessionInfo[]} running */
  #show(running) {
    this.#empty.hidden = running.length > 0;
    const before = this.#rows;
    this.#rows = new Map(running.map((s) => [s.session, before.get(s.session) ?? this.#row(s)]));
    for (const [id, row] of before) if (!this.#rows.has(id)) row.item.remove();
    // Rows that stay are not touched: a click or the focus may be on one.
    running.forEach((s, i) => {
      const row = this.#rows.get(s.session);
      if (!row) return;
      say(row.note, `${s.mode}, ${s.state.replaceAll("_", " ")}, ${count(s.accounting.inferred, "frame")}`);
      const there = this.#list.children[i] ?? null;
      if (there !== row.item) this.#list.insertBefore(row.item, there);
    });
  }

  /** @param {SessionInfo} s @returns {Row} */
  #row(s) {
    const name = s.media.name ?? (s.mode === "live" ? "Live" : "Upload");
    const note = make("span", { class: "note" });
    const button = make("button", { type: "button", class: "row" }, make("span", { class: "name" }, name), note);
    button.addEventListener("click", () => this.onwatch(s.session, name));
    return { item: make("li", {}, button), note };
  }
}
