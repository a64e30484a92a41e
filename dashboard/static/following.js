// What is subscribed: the days of all symbols, trades and quotes of all or of what is in view, and one symbol closely.

import { encode } from "./codec.js";

const HIDDEN_MS = 5_000;
const SCROLLED_MS = 250; // what is in view is told at most so often
const NAMED = 1_000; // symbols a command names at most
const SLOW_MS = 1_000; // what is told of all symbols, in a market too large to follow all of it closely
const COURSE_MS = 5_000;
const COURSE_BARS = 90; // that a course begins with
const DAY_S = 86_400;
/**
 * Up to so many symbols, all of them are followed; in a larger market those in view and on the watchlist are. A browser
 * spends some 30 microseconds on a WebSocket message before the page sees it: 500 symbols would be half a core.
 */
const FOLLOW_ALL = 100;
/** The intervals that a server grants, in milliseconds. */
export const RATES_MS = [50, 100, 250, 500, 1000, 5000];

/** Return the interval of bars that tells most of a day: a day, or the longest below it, or the shortest there is. */
function dayInterval(intervals) {
  const within = intervals.filter((interval) => interval <= DAY_S);
  return within.length > 0 ? Math.max(...within) : Math.min(...intervals);
}

/** Return the interval of the bars that a course begins with: a minute, or the next longer one; 0: there is none. */
function courseInterval(intervals, day) {
  return Math.min(...intervals.filter((interval) => interval >= 60 && interval < day), day) % day;
}

function* chunks(symbols) {
  for (let start = 0; start < symbols.length; start += NAMED) yield symbols.slice(start, start + NAMED);
}

/** `command(map)` sends one. `refused` tells by symbol why it cannot be had ("": the answer is not there yet). */
export class Following {
  refused = new Map();
  isSettled = false; // whether the symbols are known, and so how to follow them

  #store;
  #command;
  #isAnswered = false;
  #welcome = null; // what the server said of itself
  #resumes = false; // whether this connection goes on in the epoch of the one before
  #intervalMs = 250;
  #everyRow = false;
  #view = []; // symbols in view or watched
  #viewTimer = 0;
  #sorted = null; // the kind that the table is sorted by
  #focus = null; // the symbol that is looked at closely, and the interval of its bars
  #followsAll = true;
  #followed = new Set(); // symbols whose trades and quotes are subscribed by name, in a large market
  #courses = new Set(); // symbols whose short bars are
  #named = new Set(); // symbols that were looked at: subscribed by name, beside the wildcard

  constructor(store, command) {
    this.#store = store;
    this.#command = command;
    document.addEventListener("visibilitychange", () => this.again());
  }

  /** A connection begins: ask for the symbols, by what their days are like. */
  begin(welcome, resumes) {
    this.#welcome = welcome;
    this.#resumes = resumes;
    this.end();
    this.#followsAll = true;
    for (const each of [this.refused, this.#followed, this.#courses, this.#named]) each.clear();
    const hasBars = this.#has("bars");
    this.#store.dayInterval = hasBars ? dayInterval(welcome.intervals) : 0;
    this.#store.courseInterval = hasBars ? courseInterval(welcome.intervals, this.#store.dayInterval) : 0;
    if (hasBars) this.#followDays(["*"]);
    else this.#settle();
  }

  /** Take in a status: one follows each answer, and so the first, after which the symbols are known. */
  stated() {
    if (this.#isAnswered && !this.isSettled) this.#settle();
  }

  /** Now follow all symbols closely, or only what is in view. */
  #settle() {
    this.isSettled = true;
    if (this.#has("bars")) {
      this.#followsAll = this.#store.instruments.size <= FOLLOW_ALL;
      this.#store.prune();
      // Those without a running bar: their last day has ended, and no trade begun another.
      const since = new Map();
      for (const { symbol, next } of this.#store.withoutDay()) since.set(symbol, next.bars - 1);
      if (since.size > 0) this.#followDays(["*"], since);
    }
    this.#followTicks();
    this.#resumes = false;
  }

  /** The connection is lost. */
  end() {
    this.isSettled = false;
    this.#isAnswered = false;
  }

  /** Subscribe anew what the page shows, at the rate of the moment. */
  again() {
    if (!this.isSettled) return;
    if (this.#has("bars")) this.#followDays(["*"]);
    this.#courses.clear();
    this.#followTicks();
  }

  /** Say how often a symbol is updated at most, and whether every single row is wanted. */
  rate(intervalMs, everyRow) {
    this.#intervalMs = intervalMs;
    this.#everyRow = everyRow;
    this.again();
  }

  /** Say which symbols are in view or watched. In a small market all are followed, whatever these are. */
  look(symbols) {
    this.#view = symbols;
    this.#viewTimer ||= setTimeout(() => {
      this.#viewTimer = 0;
      if (this.isSettled) this.#followView();
    }, SCROLLED_MS);
  }

  /** Say which kind the table is sorted by, null if by none: in a large market it is followed of all then, if slowly. */
  sort(kind) {
    const before = this.#sorted;
    this.#sorted = kind;
    if (kind === before || !this.isSettled || this.#followsAll) return;
    if (this.#has(before)) this.#command({ op: "unsubscribe", kind: before, symbols: ["*"] }); // ends the named, too
    this.#followTicks();
  }

  /** Look closely at a symbol: all its trades, and its bars of an interval, from the oldest on; null: at none. */
  focus(symbol, interval) {
    const before = this.#focus;
    this.#focus = symbol === null ? null : { symbol, interval };
    if (!this.isSettled) return;
    if (before !== null) {
      if (before.interval !== this.#store.dayInterval) this.#leaveBars([before.symbol], before.interval);
      this.#courses.delete(before.symbol);
      if (before.symbol !== symbol && this.#has("trades")) this.#want("trades", [before.symbol], this.#manner);
      this.#followed.add(before.symbol);
    }
    this.#followFocus();
    this.#followView();
  }

  /** Take in the answer to a subscribe: now that the numbers of short bars are known, ask for the last ones. */
  answered({ channels, refused }) {
    this.#isAnswered = true;
    for (const { symbol, code } of refused) this.refused.set(symbol, code);
    const interval = this.#store.courseInterval;
    const since = new Map();
    for (const { symbol, kind, interval_s, seq } of channels) {
      const instrument = this.#store.instruments.get(symbol);
      if (kind !== "bars" || interval_s !== interval || instrument.isRecalled) continue;
      instrument.isRecalled = true;
      if (seq > 0 && this.#courses.has(symbol)) since.set(symbol, Math.max(0, seq - COURSE_BARS));
    }
    if (since.size > 0) this.#followBars([...since.keys()], interval, COURSE_MS, since);
  }

  #has(kind) {
    return this.#welcome.kinds.includes(kind);
  }

  get #tickKinds() {
    return ["trades", "quotes"].filter((kind) => this.#has(kind));
  }

  get #rate() {
    return document.hidden ? HIDDEN_MS : this.#intervalMs;
  }

  get #slowly() {
    return { interval_ms: Math.max(this.#rate, SLOW_MS) };
  }

  /** How trades and quotes are wanted. A hidden page wants little. */
  get #manner() {
    return this.#everyRow && !document.hidden ? { mode: "all" } : { interval_ms: this.#rate };
  }

  /** Subscribe; where the connection resumes, from the rows that are needed next, else from those `since` names. */
  #want(kind, symbols, { since = new Map(), ...more }) {
    const command = { op: "subscribe", kind, symbols, mode: "conflated", ...more };
    const positions = this.#resumes && kind !== "bars" ? this.#store.positions(kind, symbols) : since;
    const resuming = { ...command, since: positions, epoch: this.#welcome.epoch };
    const fits = positions.size > 0 && encode(resuming).length < this.#welcome.limits.message_bytes;
    this.#command(fits ? resuming : command); // without positions, the snapshots are the state
  }

  #followBars(symbols, interval_s, interval_ms, since) {
    this.#want("bars", symbols, { interval_s, interval_ms, since });
  }

  #leaveBars(symbols, interval_s) {
    if (this.#has("bars")) this.#command({ op: "unsubscribe", kind: "bars", symbols, interval_s });
  }

  #followDays(symbols, since) {
    const rate = this.#followsAll ? this.#rate : this.#slowly.interval_ms;
    this.#followBars(symbols, this.#store.dayInterval, rate, since);
  }

  #followTicks() {
    this.#followed.clear();
    this.#followFocus();
    if (this.#followsAll) {
      for (const kind of this.#tickKinds) this.#want(kind, ["*"], this.#manner);
      // The wildcard leaves the named in their manner: those that are looked at no longer.
      const named = [...this.#named].filter((symbol) => symbol !== this.#focus?.symbol);
      if (named.length > 0 && this.#has("trades")) this.#want("trades", named, this.#manner);
    } else if (this.#has(this.#sorted)) {
      this.#want(this.#sorted, ["*"], this.#slowly);
    }
    this.#followView();
  }

  #followFocus() {
    if (this.#focus === null) return;
    const { symbol, interval } = this.#focus;
    if (!this.#store.instruments.has(symbol)) return;
    this.#named.add(symbol);
    if (this.#has("trades")) this.#want("trades", [symbol], document.hidden ? this.#manner : { mode: "all" });
    if (!this.#welcome.intervals.includes(interval)) return;
    if (interval === this.#store.courseInterval) this.#courses.delete(symbol);
    this.#followBars([symbol], interval, this.#rate, new Map([[symbol, 0]]));
  }

  /** Subscribe what came into view, unsubscribe what left it. */
  #followView() {
    const view = new Set(this.#view);
    const known = this.#view.filter((symbol) => this.#store.instruments.has(symbol));
    this.#askAfterStrangers();
    this.#followCourses(view, known);
    if (this.#followsAll) return;
    const focused = this.#focus?.symbol;
    const left = [...this.#followed].filter((symbol) => !view.has(symbol) && symbol !== focused);
    const come = known.filter((symbol) => !this.#followed.has(symbol));
    this.#followed = new Set([...this.#followed].filter((symbol) => view.has(symbol)).concat(come));
    for (const kind of this.#tickKinds) {
      for (const symbols of chunks(left)) {
        if (kind === this.#sorted) this.#want(kind, symbols, this.#slowly); // as all the others
        else this.#command({ op: "unsubscribe", kind, symbols });
      }
      const wanted = kind === "trades" ? come.filter((symbol) => symbol !== focused) : come;
      for (const symbols of chunks(wanted)) this.#want(kind, symbols, this.#manner);
    }
  }

  /** Ask after watched symbols of which nobody has told: the answer says why. */
  #askAfterStrangers() {
    const strangers = this.#view.filter((symbol) => !this.#store.instruments.has(symbol) && !this.refused.has(symbol));
    for (const symbols of chunks(strangers)) {
      for (const symbol of symbols) this.refused.set(symbol, "");
      if (this.#has("bars")) this.#followDays(symbols);
      else this.#want(this.#tickKinds[0], symbols, this.#manner);
    }
  }

  /** Follow the short bars of what is in view: the courses are drawn of their closes. */
  #followCourses(view, known) {
    const interval = this.#store.courseInterval;
    if (interval === 0) return;
    const focused = this.#focus?.interval === interval ? this.#focus.symbol : null; // its bars come already, and oftener
    const left = [...this.#courses].filter((symbol) => !view.has(symbol));
    const come = known.filter((symbol) => !this.#courses.has(symbol) && symbol !== focused);
    this.#courses = new Set([...this.#courses].filter((symbol) => view.has(symbol)).concat(come));
    for (const symbols of chunks(left)) this.#leaveBars(symbols, interval);
    for (const symbols of chunks(come)) this.#followBars(symbols, interval, COURSE_MS);
  }
}
