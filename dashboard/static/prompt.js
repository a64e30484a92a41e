// The dialog that asks for a token. It forgets what it is told as soon as it has passed it on.

import { byId, write } from "./dom.js";

export class Prompt {
  #lock = null; // what was asked for last

  /** `unlock(token)` is called with what a person enters. */
  constructor(unlock) {
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { value } = byId("token");
      byId("token").value = "";
      if (value.trim() === "") return;
      write("token-reason", "Asking the server…");
      unlock(value.trim());
    });
    byId("token-later").addEventListener("click", () => byId("token-dialog").close());
  }

  /** Ask for a token if there is a new `lock` (see Session). */
  paint(lock) {
    if (lock === this.#lock) return;
    this.#lock = lock;
    if (lock === null) return byId("token-dialog").close();
    write("token-reason", lock.reason);
    this.open();
  }

  open() {
    if (!byId("token-dialog").open) byId("token-dialog").showModal();
    byId("token").focus();
  }
}
