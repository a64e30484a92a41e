// The symbol that is looked at closely: its chart, and its trades one by one.

import { Chart, loadLibrary } from "./chart.js";
import { shown, toNumber } from "./decimal.js";
import { byId, element, write } from "./dom.js";
import { storage } from "./storage.js";
import { milliseconds } from "./store.js";

const TRADES = 60;
const INTERVALS = { 1: "1 s", 5: "5 s", 60: "1 min", 3600: "1 h", 86400: "1 day" };
const FIGURES = ["open", "high", "low", "close", "volume"];
const NO_BARS = "This feed has no bars, and so no chart.";
const NO_LIBRARY = "The chart needs the Python package litecharts on the server; all else works without.";

/**
 * The panel beside the table. It is the Store's `closely`: has the `symbol`, and takes its trades and bars.
 *
 * `on` has focus(symbol, interval) and changed().
 */
export class Detail {
  symbol = null;

  #store;
  #on;
  #colors;
  #intervals = []; // those of the feed, in seconds
  #interval = 0;
  #loading = null; // the library, or null where there is none: a promise
  #chart = null;
  #waiting = []; // bars that came before the chart was there; null: there will be none
  #newest = null; // the running candle, as texts
  #trades = []; // not shown yet, oldest first
  #price = null; // of the last trade that is shown
  #isPaused = false;

  constructor(store, on) {
    this.#store = store;
    this.#on = on;
    byId("detail-close").addEventListener("click", () => this.close());
    byId("quote-lines").addEventListener("change", () => on.changed());
    byId("interval").addEventListener("change", ({ target }) => {
      storage.write("interval", Number(target.value));
      this.open(this.symbol, this.#intervals);
    });
    byId("tape").addEventListener("pointerenter", () => this.#pause(true));
    byId("tape").addEventListener("pointerleave", () => this.#pause(false));
  }

  get isOpen() {
    return this.symbol !== null;
  }

  /** Look at a symbol of a feed that has bars of these intervals. */
  open(symbol, intervals) {
    const stored = storage.read("interval", 60);
    this.#intervals = intervals;
    this.#interval = intervals.includes(stored) ? stored : (intervals[0] ?? 0);
    this.#offerIntervals();
    this.#turnTo(symbol);
    write("detail-symbol", symbol);
    this.forget();
    this.#on.focus(symbol, this.#interval);
    this.#draw();
  }

  close() {
    if (!this.isOpen) return;
    this.#turnTo(null);
    this.#on.focus(null, 0);
  }

  #turnTo(symbol) {
    this.symbol = symbol;
    this.#store.closely = symbol === null ? null : this;
    this.#chart?.remove();
    this.#chart = null;
    byId("detail").hidden = symbol === null;
  }

  /** Show everything anew, in the colours of another theme. */
  redraw(colors) {
    this.#colors = colors;
    if (this.isOpen) this.open(this.symbol, this.#intervals);
  }

  /** What was known of the symbol is of an epoch that has ended. */
  forget() {
    this.#chart?.clear();
    this.#waiting = [];
    this.#newest = null;
    this.#trades = [];
    this.#price = null;
    byId("trades").replaceChildren();
  }

  /** Take a row of the symbol: a trade, or a bar. */
  take({ kind, conflated, interval, places, scales }, rows, row) {
    const value = (name) => rows.at(places[name], row);
    const timeMs = milliseconds(value("time"), scales.time);
    if (kind === "trades") {
      if (conflated) return; // while the page was hidden
      this.#trades.push({ timeMs, price: value("price"), size: value("size"), scales });
      if (this.#trades.length > TRADES) this.#trades.shift();
    } else if (interval === this.#interval) {
      const time = Math.floor(timeMs / 1000);
      const bar = { time };
      for (const name of FIGURES) bar[name] = toNumber(value(name), scales[name]);
      if (!(time < this.#newest?.time)) {
        const [o, h, l, c, v] = FIGURES.map((name) => shown(value(name), scales[name]));
        this.#newest = { time, text: `O ${o}  H ${h}  L ${l}  C ${c}  V ${v}` };
      }
      if (this.#chart !== null) this.#chart.candle(bar);
      else this.#waiting?.push(bar);
    }
  }

  /** Show what has come; to be called once a frame. */
  paint() {
    if (!this.isOpen) return;
    const instrument = this.#store.instruments.get(this.symbol);
    this.#chart?.paint();
    if (instrument !== undefined) {
      const { last, lastScale, quote, priceScale } = instrument;
      this.#chart?.quote(byId("quote-lines").checked ? quote : null, priceScale);
      write("detail-last", last === null ? "" : shown(last, lastScale));
    }
    write("legend", this.#newest?.text ?? "");
    const label = `Chart of ${this.symbol}, ${this.#chart?.length ?? 0} candles`;
    if (byId("chart").ariaLabel !== label) byId("chart").ariaLabel = label;
    if (!this.#isPaused) this.#paintTrades();
  }

  #offerIntervals() {
    const options = this.#intervals.map((interval) => {
      const option = element("option", "", INTERVALS[interval] ?? `${interval} s`);
      option.value = String(interval);
      option.selected = interval === this.#interval;
      return option;
    });
    byId("interval").hidden = options.length === 0;
    byId("interval").replaceChildren(...options);
  }

  async #draw() {
    this.#loading ??= loadLibrary().catch(() => null);
    const library = await this.#loading;
    const canDraw = library !== null && this.#interval !== 0;
    byId("chart").hidden = !canDraw;
    byId("no-chart").hidden = canDraw;
    write("no-chart", this.#interval === 0 ? NO_BARS : NO_LIBRARY);
    if (canDraw && this.isOpen && this.#chart === null) {
      const scale = this.#store.instruments.get(this.symbol)?.priceScale ?? 2;
      this.#chart = new Chart(library, byId("chart"), scale, this.#colors);
      for (const bar of this.#waiting) this.#chart.candle(bar);
    }
    this.#waiting = null;
    this.#on.changed();
  }

  #pause(isPaused) {
    this.#isPaused = isPaused;
    byId("paused").hidden = !isPaused;
    this.#on.changed();
  }

  #paintTrades() {
    const body = byId("trades");
    for (const { timeMs, price, size, scales } of this.#trades) {
      const side = this.#price === null || price === this.#price ? "flat" : price > this.#price ? "up" : "down";
      this.#price = price;
      const row = element("tr", side);
      row.append(
        element("td", "", new Date(timeMs).toISOString().slice(11, 23)),
        element("td", "tick", shown(price, scales.price)),
        element("td", "", shown(size, scales.size)),
      );
      body.prepend(row);
    }
    this.#trades = [];
    while (body.children.length > TRADES) body.lastChild.remove();
  }
}
