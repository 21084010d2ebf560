// What a person changed of a running session, until the hub says that it is in force:
// a connection that is lost in between takes no setting with it.

export class Changes {
  /** @type {Record<string, unknown>} */
  #change = {};
  #id = "";

  /** @param {Record<string, unknown>} change */
  add(change) {
    this.#change = { ...this.#change, ...change };
    this.#id = String(Math.random()); // events of the past have ids, too
  }

  /** What the hub is to be told. @returns {Record<string, unknown> | null} */
  get message() {
    return Object.keys(this.#change).length > 0 ? { type: "configure", id: this.#id, ...this.#change } : null;
  }

  /** The hub answers, for good or for now. @param {HubMessage} m */
  heard(m) {
    if ((m.type === "configured" || (m.type === "error" && !m.temporary)) && m.id === this.#id) this.#change = {};
  }
}
