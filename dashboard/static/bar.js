// What stands above the table: the state of the connection, and how fresh and complete the data are.

import { NOTHING, duration } from "./columns.js";
import { grouped } from "./decimal.js";
import { byId, write } from "./dom.js";

const STATUS = { waiting: "Waiting for the feed", stalled: "Feed is silent", failed: "Feed has failed" };
const REFUSED = { forbidden: "Not for this token", unknown_symbol: "Not in this feed", limit: "Too many symbols" };
const BARS_ONLY = "This feed has no trades: the last price is the close of the last bar.";
const QUOTES_ONLY =
  "This feed has quotes only: the last price is the middle of bid and ask; change, low and high are since this page opened.";
const RETRIED = ["waiting", "failed", "locked"];

/** Return the state of connection and feed as a word for the style sheet, and as a text. */
function describeState({ connection, welcome, status, lock }) {
  if (connection.state === "waiting") {
    const seconds = Math.max(0, Math.ceil((connection.retryAt - performance.now()) / 1000));
    return ["waiting", navigator.onLine ? `Reconnecting in ${seconds} s` : "Offline"];
  }
  if (lock !== null) return ["locked", "Waiting for a token"];
  if (connection.state === "closed") return ["failed", `Not connected: ${connection.reason}`];
  if (connection.state === "connecting" || welcome === null || status === null) return ["connecting", "Connecting"];
  const { state, clock } = status;
  if (state in STATUS) return [state, STATUS[state]];
  if (state === "ended") return ["ended", clock === null ? "Feed has ended" : "Replay has ended"];
  if (clock === null) return ["live", "Live"];
  return ["replay", clock.speed === null ? "Replay, full speed" : `Replay × ${clock.speed}`];
}

/** Return milliseconds for people: "41 ms", "2.3 s", "5 min". */
function milliseconds(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** Return bytes a second for people. */
function traffic(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B/s`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(bytes < 1e4 ? 1 : 0)} kB/s` : `${(bytes / 1e6).toFixed(1)} MB/s`;
}

function dateAndTime(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(0, 19).replace("T", " ") : NOTHING;
}

export class Bar {
  #announced = "";

  constructor(session, health, store) {
    this.session = session;
    this.health = health;
    this.store = store;
  }

  /** Show the state of the connection; to be called whenever something changed. */
  paintState() {
    const [state, text] = describeState(this.session);
    byId("state").dataset.state = document.body.dataset.state = state;
    write("state-text", text);
    write("retry", state === "locked" ? "Enter token" : "Try now");
    byId("retry").hidden = !RETRIED.includes(state) || (state !== "locked" && this.session.connection.state === "open");
    // A screen reader is told of a new state, but not of each second of a countdown.
    if (state !== this.#announced && state !== "connecting") {
      this.#announced = state;
      write("announcement", state === "waiting" ? "Connection lost, reconnecting" : text);
    }
    if (this.session.welcome === null) return;
    write("note", this.#notes().join(" "));
    byId("note").hidden = byId("note").textContent === "";
  }

  #notes() {
    const { welcome, error, following } = this.session;
    const notes = Object.entries(REFUSED).flatMap(([code, text]) => {
      const symbols = [...following.refused.keys()].filter(
        (symbol) => following.refused.get(symbol) === code && !this.store.instruments.has(symbol),
      );
      return symbols.length > 0 ? [`${text}: ${symbols.join(", ")}.`] : [];
    });
    if (error !== "") notes.push(`The server refused: ${error}`);
    if (welcome.kinds.includes("trades")) return notes;
    return [...notes, welcome.kinds.includes("bars") ? BARS_ONLY : QUOTES_ONLY];
  }

  /** Show the health of the data; to be called once a second. */
  paintHealth() {
    const { health, session, store } = this;
    const { isReplay } = store;
    health.second();
    if (session.welcome !== null) write("feed", session.welcome.feed);
    write("clock-label", isReplay ? "Replay’s clock (UTC)" : "Clock (UTC)");
    write("clock", isReplay ? dateAndTime(this.#replayTime()) : dateAndTime(health.now()).slice(-8));
    byId("item-age").hidden = isReplay;
    write("age-median", milliseconds(health.ageMedian));
    write("age-99", milliseconds(health.age99));
    write("ticks", grouped(String(Math.round(health.rowsPerSecond))));
    write("bytes", traffic(health.bytesPerSecond));
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
    const isWhole = isComplete !== false && lost === 0 && unreadable === 0;
    byId("complete").dataset.state = isComplete === null ? "unknown" : isWhole ? "complete" : "incomplete";
    const told = [`${grouped(String(total))} rows`, `${grouped(String(lost))} lost`];
    if (unreadable > 0) told.push(`${unreadable} unreadable`);
    if (isComplete === false) told.push("some missing");
    write("complete-text", isComplete === null ? NOTHING : told.join(", "));
  }

  #paintBreadth() {
    const percents = Array.from(this.store.instruments.values(), ({ percent }) => percent);
    const count = (sign) => percents.filter((percent) => Math.sign(percent) === sign).length;
    write("breadth", `▲ ${count(1)}  ▼ ${count(-1)}`);
  }
}
