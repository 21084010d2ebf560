// The sessions that the hub runs, to be watched.

import { call, refused } from "./access.js";
import { byId, count, make } from "./dom.js";

const often = 3000;

export class SessionList {
  #list = byId("sessions", HTMLUListElement);
  #empty = byId("no-sessions", HTMLElement);
  #shown = "";
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
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.session : undefined;
    this.#empty.hidden = running.length > 0;
    this.#list.replaceChildren(...running.map((s) => {
      const name = s.media.name ?? (s.mode === "live" ? "Live" : "Upload");
      const button = make("button", { type: "button", class: "row", "data-session": s.session },
        make("span", { class: "name" }, name),
        make("span", { class: "note" }, `${s.mode}, ${s.state.replaceAll("_", " ")}, ${count(s.accounting.inferred, "frame")}`));
      button.addEventListener("click", () => this.onwatch(s.session, name));
      return make("li", {}, button);
    }));
    const again = [...this.#list.querySelectorAll("button")].find((b) => b.dataset.session === focused);
    if (focused && again) again.focus();
  }
}
