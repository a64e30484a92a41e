// What stands above the table: the state of the connection, and how fresh and complete the data are.

import { NOTHING, duration } from "./columns.js";
import { grouped } from "./decimal.js";

const STATUS = {
  waiting: ["waiting", "Waiting for the feed"],
  stalled: ["stalled", "Feed is silent"],
  failed: ["failed", "Feed has failed"],
};

/** Return the state of connection and feed as a word for the style sheet, and as a text. */
export function describeState({ connection, welcome, status }) {
  if (connection.state === "closed") return ["failed", `Not connected: ${connection.reason}`];
  if (connection.state === "waiting") {
    const seconds = Math.max(0, Math.ceil((connection.retryAt - performance.now()) / 1000));
    return ["waiting", navigator.onLine ? `Reconnecting in ${seconds} s` : "Offline"];
  }
  if (connection.state === "connecting" || welcome === null || status === null) return ["connecting", "Connecting"];
  if (status.state in STATUS) return STATUS[status.state];
  const { clock } = status;
  if (status.state === "ended") return ["ended", clock === null ? "Feed has ended" : "Replay has ended"];
  if (clock === null) return ["live", "Live"];
  return ["replay", clock.speed === null ? "Replay, full speed" : `Replay × ${clock.speed}`];
}

/** Return milliseconds for people: "41 ms", "2.3 s", "5 min". */
export function milliseconds(ms) {
  if (!Number.isFinite(ms)) return NOTHING;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** Return bytes a second for people. */
export function traffic(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B/s`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(bytes < 1e4 ? 1 : 0)} kB/s` : `${(bytes / 1e6).toFixed(1)} MB/s`;
}

function dateAndTime(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(0, 19).replace("T", " ") : NOTHING;
}

export class Bar {
  #texts = new Map();
  #elements = new Map();
  #announced = "";

  constructor(document, session, health, store) {
    this.document = document;
    this.session = session;
    this.health = health;
    this.store = store;
  }

  #element(id) {
    let found = this.#elements.get(id);
    if (found === undefined) this.#elements.set(id, (found = this.document.getElementById(id)));
    return found;
  }

  #write(id, text) {
    if (this.#texts.get(id) === text) return;
    this.#texts.set(id, text);
    this.#element(id).textContent = text;
  }

  /** Show the state of the connection; to be called whenever something changed. */
  paintState() {
    const [state, text] = describeState(this.session);
    const element = this.#element("state");
    if (element.dataset.state !== state) {
      element.dataset.state = state;
      this.document.body.dataset.state = state;
      this.#element("retry").hidden = !["waiting", "failed"].includes(state) || this.session.connection.state === "open";
    }
    this.#write("state-text", text);
    this.#announce(state, text);
    this.#write("note", this.#note());
    this.#element("note").hidden = this.#texts.get("note") === "";
  }

  /** Tell a screen reader of a new state, but not of each second of a countdown. */
  #announce(state, text) {
    if (state === this.#announced || state === "connecting") return;
    this.#announced = state;
    this.#write("announcement", state === "waiting" ? "Connection lost, reconnecting" : text);
  }

  #note() {
    const { welcome, refusal } = this.session;
    if (refusal !== "") return `The server refused: ${refusal}`;
    if (welcome === null) return this.#texts.get("note") ?? "";
    const has = (kind) => welcome.kinds.includes(kind);
    if (has("trades")) return "";
    if (has("bars")) return "This feed has no trades: the last price is the close of the last bar.";
    const since = "change, low and high are since this page opened";
    return `This feed has quotes only: the last price is the middle of bid and ask; ${since}.`;
  }

  /** Show the health of the data; to be called once a second. */
  paintHealth() {
    const { health, session, store } = this;
    const isReplay = store.isReplay;
    health.second();
    this.#write("feed", session.welcome?.feed ?? this.#texts.get("feed") ?? NOTHING);
    this.#write("clock-label", isReplay ? "Replay’s clock (UTC)" : "Clock (UTC)");
    this.#write("clock", isReplay ? dateAndTime(this.#replayTime()) : dateAndTime(health.now()).slice(-8));
    this.#element("item-age").hidden = isReplay;
    this.#write("age-median", milliseconds(health.ageMedian));
    this.#write("age-99", milliseconds(health.age99));
    this.#write("ticks", grouped(String(Math.round(health.rowsPerSecond))));
    this.#write("bytes", traffic(health.bytesPerSecond));
    this.#paintComplete();
    this.#paintBreadth();
  }

  #replayTime() {
    const { clock } = this.session.status ?? this.session.welcome ?? { clock: null };
    const started = clock === null ? NaN : Number(clock.time) / 1e6;
    return Number.isNaN(this.store.eventMs) ? started : Math.max(started || 0, this.store.eventMs);
  }

  #paintComplete() {
    const { lost, unreadable, isComplete, total } = this.health;
    const element = this.#element("complete");
    const isWhole = isComplete !== false && lost === 0 && unreadable === 0;
    const state = isComplete === null ? "unknown" : isWhole ? "complete" : "incomplete";
    if (element.dataset.state !== state) element.dataset.state = state;
    const told = [
      `${grouped(String(total))} rows`,
      `${grouped(String(lost))} lost`,
      unreadable > 0 ? `${unreadable} unreadable` : "",
      isComplete === false ? "some missing" : "",
    ];
    this.#write("complete-text", state === "unknown" ? NOTHING : told.filter(Boolean).join(", "));
  }

  #paintBreadth() {
    let up = 0;
    let down = 0;
    for (const { percent } of this.store.instruments.values()) {
      if (percent > 0) up++;
      else if (percent < 0) down++;
    }
    this.#write("breadth", `▲ ${up}  ▼ ${down}`);
  }
}
