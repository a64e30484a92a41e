// The conversation with the server: says what is wanted, takes in what comes, resumes where it was cut off.

import { Rows, decode, encode, isData } from "./codec.js";
import { Connection } from "./connection.js";

const PING_MS = 1_000;
const HIDDEN_MS = 5_000;
const NAMED = 1_000; // symbols a command names at most
const SLOW_MS = 1_000; // the days of all symbols, in a market too large to follow all of it closely
/**
 * Up to so many symbols, all of them are followed; in a larger market those in view and on the watchlist are. A browser
 * spends some 30 microseconds on a WebSocket message before the page sees it: 500 symbols would be half a core.
 */
export const FOLLOW_ALL = 100;
/** The intervals that a server grants, in milliseconds. */
export const RATES_MS = [50, 100, 250, 500, 1000, 5000];

const DAY_S = 86_400;

/** Return the interval of bars that tells most of a day: that of a day, or the longest below, or the shortest there is. */
function dayInterval(intervals) {
  const within = intervals.filter((interval) => interval <= DAY_S);
  return within.length > 0 ? Math.max(...within) : Math.min(...intervals);
}

/**
 * Follows a market: `store` gets what comes, `health` counts it. `changed()` is called when the page may have to change.
 *
 * `welcome` is what the server said of itself, `status` what it last said of its feed.
 */
export class Session {
  welcome = null;
  status = null;
  refusal = ""; // the last error the server answered with

  #store;
  #health;
  #changed;
  #rows = new Rows();
  #pings = new Map(); // by id: when it was sent
  #lastId = 0;
  #intervalMs = 250;
  #everyRow = false;
  #view = []; // symbols in view
  #followed = new Set(); // symbols that are subscribed by name, in a large market
  #followsAll = true;
  #resumes = false; // whether this connection goes on in the epoch of the one before
  #focus = null; // the symbol that is looked at closely, and the interval of its bars
  #named = new Set(); // symbols that are subscribed by name, beside the wildcard
  #isSettled = false; // whether the symbols are known, and so how to follow them

  constructor(url, store, health, changed) {
    this.#store = store;
    this.#health = health;
    this.#changed = changed;
    this.connection = new Connection(url, {
      opened: () => health.connected(),
      closed: () => this.#interrupted(),
      message: (bytes) => this.#message(bytes),
      changed,
    });
    setInterval(() => this.#ping(), PING_MS);
    document.addEventListener("visibilitychange", () => this.#subscribe());
  }

  /** Say how often a symbol is updated at most, and whether every single row is wanted. */
  follow(intervalMs, everyRow) {
    this.#intervalMs = intervalMs;
    this.#everyRow = everyRow;
    this.#subscribe();
  }

  /** Say which symbols are in view or watched. In a small market all are followed, whatever these are. */
  look(symbols) {
    this.#view = symbols;
    if (this.welcome !== null && this.#isSettled && !this.#followsAll) this.#followView();
  }

  /** Look closely at a symbol: all its trades, and its bars of an interval from as far back as there are; null: at none. */
  focus(symbol, interval) {
    const before = this.#focus;
    this.#focus = symbol === null ? null : { symbol, interval };
    if (this.welcome === null || !this.#isSettled) return;
    if (before !== null && before.interval !== this.#store.dayInterval && this.#has("bars")) {
      this.#command({ op: "unsubscribe", kind: "bars", symbols: [before.symbol], interval_s: before.interval });
    }
    if (before !== null && before.symbol !== symbol && this.#has("trades")) {
      this.#want("trades", [before.symbol], this.#manner);
      this.#followed.add(before.symbol);
    }
    this.#followFocus();
  }

  #followFocus() {
    if (this.#focus === null) return;
    const { symbol, interval } = this.#focus;
    if (!this.#store.instruments.has(symbol)) return;
    this.#named.add(symbol);
    if (this.#has("trades")) this.#want("trades", [symbol], document.hidden ? this.#manner : { mode: "all" });
    if (!this.welcome.intervals.includes(interval)) return;
    const since = new Map([[symbol, 0]]);
    this.#want("bars", [symbol], { interval_s: interval, interval_ms: this.#rate, since });
  }

  /** Send a command and return its id. */
  #command(command) {
    const id = ++this.#lastId;
    this.connection.send({ ...command, id });
    return id;
  }

  #interrupted() {
    this.welcome = null;
    this.#pings.clear();
    this.#changed();
  }

  #message(bytes) {
    this.#health.received(bytes.length);
    try {
      if (isData(bytes)) this.#data(bytes);
      else this.#control(decode(bytes));
    } catch (error) {
      // What was in it is missing now: a new connection resumes at the rows that were folded last.
      this.#health.unreadable++;
      this.connection.restart(error);
    }
    this.#changed();
  }

  #data(bytes) {
    const applied = this.#store.apply(this.#rows.read(bytes));
    if (applied === null) this.#health.counted(this.#rows.n);
    else this.#health.rows(applied);
  }

  #control(message) {
    switch (message.type) {
      case "welcome":
        return this.#begin(message);
      case "subscribed":
        message.channels.forEach((descriptor) => this.#describe(descriptor));
        if (message.refused.length > 0) this.refusal = `${message.refused.length} symbols, ${message.refused[0].code}`;
        return;
      case "channel":
        return this.#describe(message);
      case "status":
        this.status = message;
        this.#store.isReplay = message.clock !== null;
        return this.#isSettled || this.#settle(); // it follows each answer to a subscribe, and so the first
      case "pong":
        this.#health.pong(message, this.#pings.get(message.id));
        return this.#pings.delete(message.id);
      case "heartbeat":
        return this.#health.beat(message);
      case "gap":
        this.#store.skip(message.channel, message.seq);
        return this.#health.missed(message.missed);
      case "goodbye":
        return this.connection.comeBackAfter(message.reconnect_ms);
      case "error":
        this.refusal = message.message;
    }
  }

  #begin(welcome) {
    this.welcome = welcome;
    this.status = null;
    this.refusal = "";
    this.connection.expectWithin(Math.max(5 * PING_MS, 1500 * welcome.heartbeat_s));
    this.#store.isReplay = welcome.clock !== null;
    this.#resumes = !this.#store.begin(welcome.epoch);
    this.#isSettled = false;
    this.#followsAll = true;
    this.#followed.clear();
    this.#named.clear();
    this.#store.dayInterval = this.#has("bars") ? dayInterval(welcome.intervals) : 0;
    if (this.#has("bars")) this.#followDays();
    else this.#settle();
    this.#ping();
  }

  #describe(descriptor) {
    this.#health.missed(this.#store.describe(descriptor));
  }

  get #rate() {
    return document.hidden ? HIDDEN_MS : this.#intervalMs;
  }

  #has(kind) {
    return this.welcome.kinds.includes(kind);
  }

  /** The symbols are known, and what their days were like: now follow all of them closely, or only what is in view. */
  #settle() {
    this.#isSettled = true;
    this.#followsAll = !this.#has("bars") || this.#store.instruments.size <= FOLLOW_ALL;
    if (this.#has("bars")) {
      this.#store.prune();
      this.#recallDays();
    }
    this.#followTicks();
    this.#resumes = false;
  }

  /** Subscribe anew what the page shows, at the rate of the moment. */
  #subscribe() {
    if (this.welcome === null || !this.#isSettled) return;
    if (this.#has("bars")) this.#followDays();
    this.#followed.clear();
    this.#followTicks();
  }

  #followDays(more = {}) {
    this.#want("bars", ["*"], {
      interval_s: this.#store.dayInterval,
      interval_ms: this.#followsAll ? this.#rate : Math.max(this.#rate, SLOW_MS),
      ...more,
    });
  }

  /** Ask for the last bar of symbols that have no running one: their last day has ended, and no trade begun another. */
  #recallDays() {
    const since = new Map();
    for (const { symbol, next } of this.#store.withoutDay()) since.set(symbol, next.bars - 1);
    if (since.size > 0) this.#followDays({ since });
  }

  #followTicks() {
    this.#followFocus();
    if (!this.#followsAll) return this.#followView();
    for (const kind of this.#tickKinds) this.#want(kind, ["*"], this.#manner);
    // The wildcard leaves the named in their manner: those that are looked at no longer.
    const named = [...this.#named].filter((symbol) => symbol !== this.#focus?.symbol);
    if (named.length > 0 && this.#has("trades")) this.#want("trades", named, this.#manner);
  }

  get #tickKinds() {
    return ["trades", "quotes"].filter((kind) => this.#has(kind));
  }

  /** How trades and quotes are wanted. A hidden page wants little. */
  get #manner() {
    return this.#everyRow && !document.hidden ? { mode: "all" } : { interval_ms: this.#rate };
  }

  /** Subscribe; where the connection resumes, from the rows that are needed next, else from those `since` names. */
  #want(kind, symbols, { since = new Map(), ...more }) {
    const command = { op: "subscribe", kind, symbols, mode: "conflated", ...more };
    const positions = this.#resumes && kind !== "bars" ? this.#store.positions(kind, symbols) : since;
    const resuming = { ...command, since: positions, epoch: this.welcome.epoch };
    const fits = positions.size > 0 && encode(resuming).length < this.welcome.limits.message_bytes;
    this.#command(fits ? resuming : command); // without positions, the snapshots are the state
  }

  /** Subscribe the symbols that came into view, unsubscribe those that left it. */
  #followView() {
    const view = new Set(this.#view);
    const focused = this.#focus?.symbol;
    const left = [...this.#followed].filter((symbol) => !view.has(symbol) && symbol !== focused);
    const come = this.#view.filter((symbol) => !this.#followed.has(symbol) && this.#store.instruments.has(symbol));
    this.#followed = new Set([...this.#followed].filter((symbol) => view.has(symbol)).concat(come));
    for (const kind of this.#tickKinds) {
      for (const symbols of chunks(left)) this.#command({ op: "unsubscribe", kind, symbols });
      const wanted = kind === "trades" ? come.filter((symbol) => symbol !== focused) : come;
      for (const symbols of chunks(wanted)) this.#want(kind, symbols, this.#manner);
    }
  }

  #ping() {
    if (this.welcome === null) return;
    this.#pings.set(this.#command({ op: "ping" }), performance.now());
  }
}

function* chunks(symbols) {
  for (let start = 0; start < symbols.length; start += NAMED) yield symbols.slice(start, start + NAMED);
}
