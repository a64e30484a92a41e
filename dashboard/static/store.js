// What the page knows of the market: the state of every symbol, folded from snapshots and rows. No socket, no painting.

import { middle, minus, rescale, toNumber } from "./decimal.js";
import { Spark } from "./spark.js";

/** Where a symbol's last price comes from, the better the higher: a trade, else the middle of a quote, else a bar. */
const SOURCE = { none: 0, bars: 1, quotes: 2, trades: 3 };

/** Return a time of the wire, a whole number at `scale`, in milliseconds. */
export function milliseconds(time, scale) {
  return typeof time === "bigint" ? Number(time / 1000n) / 10 ** (scale - 6) : time / 10 ** (scale - 3);
}

/** The state of one symbol. Prices are whole numbers at `priceScale`, `last` at `lastScale`. */
export class Instrument {
  spark = new Spark();
  isWatched = false;
  isRecalled = false; // whether its course was asked for on this connection
  version = 0; // grows with whatever changes

  constructor(symbol) {
    this.symbol = symbol;
    this.folded = symbol.toUpperCase();
    this.forget();
  }

  /** Back to knowing nothing, as at a new epoch. */
  forget() {
    this.version++;
    this.isDescribed = false;
    this.next = Object.create(null); // by kind: the number of the next row needed
    this.source = SOURCE.none;
    this.last = null;
    this.lastScale = 0;
    this.seen = null; // open, high, low since the page opened, where the feed has no day
    this.day = null;
    this.quote = null;
    this.pricedAt = NaN; // event time of the last price, in milliseconds, where it is known
    this.priceScale = 0;
    this.sizeScale = 0;
    this.direction = 0; // of the last change: 1 up, -1 down
    this.moves = 0; // how often the last price changed
    this.spark.clear();
  }

  /**
   * Take in a last price, unless a better source than `source` has spoken before. It is a point of the course `atMs`, and
   * made at `pricedAt`.
   */
  price(value, scale, source, atMs, pricedAt) {
    if (source < this.source) return;
    if (source > this.source) {
      this.source = source;
      this.lastScale = scale;
      this.seen = { open: value, high: value, low: value };
      this.spark.clear();
    } else if (value !== this.last) {
      this.direction = value > this.last ? 1 : -1;
      this.moves++;
    }
    this.last = value;
    this.pricedAt = pricedAt;
    widen(this.seen, value, value);
    this.spark.push(atMs, toNumber(value, scale));
  }

  /** The day's open, high and low, or those since the page opened; null before any price. At `lastScale`. */
  get range() {
    if (this.day === null || this.last === null) return this.seen;
    const { open, high, low } = this.day;
    const scaled = (price) => rescale(price, this.priceScale, this.lastScale);
    return { open: scaled(open), high: scaled(high), low: scaled(low) };
  }

  /** The last price less the day's open, at `lastScale`; null before any price. */
  get change() {
    const { range } = this;
    return range === null ? null : minus(this.last, range.open);
  }

  /** The change in percent of the day's open; NaN where there is none. */
  get percent() {
    const { range } = this;
    if (range === null || Number(range.open) === 0) return NaN;
    return (Number(minus(this.last, range.open)) / Math.abs(Number(range.open))) * 100;
  }
}

function widen(range, high, low) {
  if (high > range.high) range.high = high;
  if (low < range.low) range.low = low;
}

/** Return by name the place of each column. */
function placesOf(names) {
  return Object.fromEntries(names.map((name, place) => [name, place]));
}

const SUMMARY = placesOf(["time", "open", "high", "low", "close", "volume", "notional", "count"]);
/** The columns of a snapshot, by kind, whatever the mode is. */
const SNAPSHOT = {
  trades: SUMMARY,
  quotes: placesOf(["time", "bid_price", "bid_size", "ask_price", "ask_size"]),
  bars: SUMMARY,
};

/** A snapshot, seen as the one row that it is. */
class SnapshotRow {
  constructor(values) {
    this.values = values;
  }

  at(column) {
    return this.values[column];
  }
}

/** One channel of this connection: an integer on the wire, a kind of a symbol, and where its columns are. */
class Channel {
  constructor({ kind, mode, interval_s, columns }, instrument) {
    this.instrument = instrument;
    this.kind = kind;
    this.conflated = mode === "conflated";
    this.interval = interval_s;
    this.width = columns.length;
    this.scales = Object.fromEntries(columns);
    this.places = placesOf(columns.map(([name]) => name));
    this.countPlace = this.conflated && kind !== "bars" ? this.places.count : undefined;
  }
}

export class Store {
  instruments = new Map();
  epoch = null;
  /** Grows with the set of symbols. */
  membership = 0;
  /** The newest event time of any row but the days', in milliseconds: the time of a replay. */
  eventMs = NaN;
  /** Whether event times are those of a replay, and ages mean nothing. */
  isReplay = false;
  /** The intervals of the bars that are the days, and of those that a course begins with; 0: there are none. */
  dayInterval = 0;
  courseInterval = 0;
  /** Who looks closely at one symbol, or null: has `symbol`, take(channel, rows, row) and, at a new epoch, forget(). */
  closely = null;

  #serverNow;
  #channels = new Map();

  /** `serverNow()` returns the server's time, in milliseconds. */
  constructor(serverNow) {
    this.#serverNow = serverNow;
  }

  /** A connection begins: channels are to be described anew, and a new epoch forgets all. Return whether it is new. */
  begin(epoch) {
    this.#channels.clear();
    const isNew = epoch !== this.epoch;
    for (const instrument of this.instruments.values()) {
      instrument.isRecalled = false;
      if (isNew) instrument.forget();
    }
    if (isNew) {
      this.epoch = epoch;
      this.eventMs = NaN;
      this.closely?.forget();
    }
    return isNew;
  }

  /** All symbols of this epoch have been described: drop those that are gone. */
  prune() {
    for (const [symbol, instrument] of this.instruments) {
      if (instrument.isDescribed) continue;
      this.instruments.delete(symbol);
      this.membership++;
    }
  }

  /** Take in what the server says of a channel. Return the number of rows that were lost before it, 0 if none. */
  describe(descriptor) {
    const { symbol, kind, seq, snapshot } = descriptor;
    const instrument = this.#instrument(symbol);
    const channel = new Channel(descriptor, instrument);
    this.#channels.set(descriptor.channel, channel);
    instrument.isDescribed = true;
    const told = snapshot === null ? null : new SnapshotRow(snapshot);
    if (kind === "bars" && told !== null && this.closely?.symbol === symbol) this.closely.take(channel, told, 0);
    if (this.#isOtherBars(channel)) return 0;
    const { scales } = channel;
    if (kind !== "quotes") instrument.sizeScale = scales.volume ?? scales.size;
    instrument.priceScale = scales.close ?? scales.price ?? scales.bid_price;
    const needed = instrument.next[kind];
    instrument.next[kind] = seq;
    // What is before a row that was needed has been folded already: its snapshot is older than what is known.
    if (told !== null && (!(needed >= seq) || kind === "bars")) this.#fold(channel, SNAPSHOT[kind], told, 0);
    instrument.version++;
    return kind === "bars" ? 0 : (descriptor.missed ?? 0);
  }

  /** Bars of an interval that are not the days. */
  #isOtherBars({ kind, interval }) {
    return kind === "bars" && interval !== this.dayInterval;
  }

  #instrument(symbol) {
    if (!this.instruments.has(symbol)) {
      this.instruments.set(symbol, new Instrument(symbol));
      this.membership++;
    }
    return this.instruments.get(symbol);
  }

  /** Symbols that had bars, but have no running one. */
  *withoutDay() {
    for (const instrument of this.instruments.values()) {
      if (instrument.day === null && instrument.next.bars > 0) yield instrument;
    }
  }

  /** Return, of these symbols or of all (`*`), the next row that is needed of a kind, to resume from. */
  positions(kind, symbols) {
    const since = new Map();
    for (const symbol of symbols[0] === "*" ? this.instruments.keys() : symbols) {
      const next = this.instruments.get(symbol)?.next[kind];
      if (next !== undefined) since.set(symbol, next);
    }
    return since;
  }

  /** The server lost rows before a number. */
  skip(channelNumber, seq) {
    const channel = this.#channels.get(channelNumber);
    if (channel !== undefined) channel.instrument.next[channel.kind] = seq;
  }

  /**
   * Fold the rows of a message. Return what the health bar counts: `counted` rows as the server counts them, `lost` ones
   * (their numbers were never seen), and the event time of the last, in milliseconds (NaN for bars); null for a channel
   * that isn't ours (any more).
   */
  apply(rows) {
    const channel = this.#channels.get(rows.channel);
    if (channel === undefined) return null;
    if (rows.width !== channel.width) throw new Error(`${rows.width} columns instead of ${channel.width}`);
    const { instrument, kind, countPlace } = channel;
    const isClose = this.closely?.symbol === instrument.symbol && kind !== "quotes";
    const isOther = this.#isOtherBars(channel);
    const needed = instrument.next[kind] ?? rows.seq;
    let counted = 0;
    for (let row = 0; row < rows.n; row++) {
      if (isClose) this.closely.take(channel, rows, row);
      if (isOther) this.#extendCourse(channel, rows, row);
      else if (kind === "bars" || rows.seq + counted >= needed) this.#fold(channel, channel.places, rows, row);
      counted += countPlace === undefined ? 1 : Number(rows.at(countPlace, row));
    }
    instrument.version++;
    if (kind !== "bars") {
      instrument.next[kind] = Math.max(needed, rows.seq + counted);
      const timeMs = milliseconds(rows.at(0, rows.n - 1), channel.scales.time);
      return { counted, lost: Math.max(0, rows.seq - needed), timeMs };
    }
    // A running bar comes under the number that it keeps until it ends.
    if (!isOther) instrument.next.bars = rows.seq + rows.n - 1;
    return { counted, lost: 0, timeMs: NaN };
  }

  /** Take a short bar for a point of the course: its close, at its end or now. */
  #extendCourse({ instrument, interval, scales, places }, rows, row) {
    if (interval !== this.courseInterval) return;
    const startMs = milliseconds(rows.at(places.time, row), scales.time);
    this.#happened(startMs);
    const endMs = Math.min(startMs + 1000 * interval, this.#nowMs);
    instrument.spark.push(Math.max(startMs, endMs), toNumber(rows.at(places.close, row), scales.close));
  }

  #happened(timeMs) {
    if (!(timeMs <= this.eventMs)) this.eventMs = timeMs;
  }

  /** The time of what comes without one. */
  get #nowMs() {
    return this.isReplay ? this.eventMs : this.#serverNow();
  }

  #fold({ instrument, kind, scales }, places, rows, row) {
    const value = (name) => rows.at(places[name], row);
    const timeMs = milliseconds(value("time"), scales.time);
    const { day, priceScale } = instrument;
    if (kind !== "bars" || this.courseInterval === 0) this.#happened(timeMs);
    if (kind === "trades") {
      // The day's range holds a trade that its bar, which comes a moment later, doesn't have yet.
      const isToday = timeMs >= day?.timeMs && timeMs < day.timeMs + 1000 * this.dayInterval;
      if (isToday && !(rows instanceof SnapshotRow)) {
        widen(day, rows.at(places.high ?? places.price, row), rows.at(places.low ?? places.price, row));
      }
      instrument.price(rows.at(places.close ?? places.price, row), priceScale, SOURCE.trades, timeMs, timeMs);
    } else if (kind === "quotes") {
      const [bid, ask] = [value("bid_price"), value("ask_price")];
      instrument.quote = { bid, ask };
      instrument.price(middle(bid, ask), priceScale + 1, SOURCE.quotes, timeMs, timeMs);
    } else if (!(timeMs < day?.timeMs)) { // or it ended before the running one
      const [open, high, low, volume, notional] = ["open", "high", "low", "volume", "notional"].map(value);
      instrument.day = { timeMs, open, high, low, volume, notional };
      // The close of a running bar is the last trade: as new as any row, and all there is of a symbol out of view.
      const source = instrument.source === SOURCE.trades ? SOURCE.trades : SOURCE.bars;
      instrument.price(value("close"), priceScale, source, this.#nowMs, instrument.pricedAt);
    }
  }
}
