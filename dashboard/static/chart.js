// Candles and volume of one symbol, drawn by Lightweight Charts, which the server hands out if it is installed.

import { toNumber } from "./decimal.js";

/** Return the chart library, or null where the server has none. */
export async function loadLibrary(document) {
  const address = document.querySelector("meta[name=chart-library]")?.content ?? "";
  if (address === "") return null;
  await import(address);
  return globalThis.LightweightCharts ?? null;
}

/** Return the colours of the theme for a chart. */
function palette(document) {
  const style = getComputedStyle(document.body);
  const border = getComputedStyle(document.querySelector("header")).borderBottomColor;
  return { back: style.backgroundColor, text: style.color, line: border };
}

/** Return a colour, `rgb(…)`, that lets the grid shine through. */
function faded(color) {
  return color.replace("rgb(", "rgba(").replace(")", ", 0.45)");
}

/** One chart. `candle` takes bars as they come; `paint`, once a frame, shows what has changed. */
export class Chart {
  #chart;
  #candles;
  #volumes;
  #bars = new Map(); // by time in seconds
  #changed = new Set();
  #newest = -Infinity; // time of the newest candle that is shown
  #isStale = false; // whether an older one has come, so that all are to be set anew
  #colors = null;
  #lines = null;

  constructor(library, container, document, scale, colors) {
    const { back, text, line } = palette(document);
    this.#colors = colors;
    this.#chart = library.createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, background: { color: back }, textColor: text, fontSize: 11 },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: true },
      crosshair: { mode: library.CrosshairMode.Normal },
    });
    this.#candles = this.#chart.addSeries(library.CandlestickSeries, {
      upColor: colors.up,
      downColor: colors.down,
      wickUpColor: colors.up,
      wickDownColor: colors.down,
      borderVisible: false,
      priceFormat: { type: "price", precision: scale, minMove: 10 ** -scale },
    });
    this.#volumes = this.#chart.addSeries(library.HistogramSeries, {
      priceScaleId: "",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  }

  /** Take a bar: `time` in UNIX seconds, figures as Numbers. */
  candle(bar) {
    this.#bars.set(bar.time, bar);
    this.#changed.add(bar.time);
    if (bar.time < this.#newest) this.#isStale = true;
  }

  paint() {
    if (this.#changed.size === 0) return;
    const isWhole = this.#isStale || this.#newest === -Infinity; // update() takes no candle older than the newest
    const times = [...(isWhole ? this.#bars.keys() : this.#changed)].sort((a, b) => a - b);
    const bars = times.map((time) => this.#bars.get(time));
    if (isWhole) {
      this.#candles.setData(bars);
      this.#volumes.setData(bars.map((bar) => this.#volume(bar)));
    } else {
      for (const bar of bars) {
        this.#candles.update(bar);
        this.#volumes.update(this.#volume(bar));
      }
    }
    this.#newest = Math.max(this.#newest, times.at(-1));
    this.#isStale = false;
    this.#changed.clear();
  }

  #volume({ time, open, close, volume }) {
    return { time, value: volume, color: faded(close < open ? this.#colors.down : this.#colors.up) };
  }

  /** Draw lines at bid and ask, or none (null). */
  quote(quote, scale) {
    if (quote === null) {
      for (const line of this.#lines ?? []) this.#candles.removePriceLine(line);
      this.#lines = null;
      return;
    }
    const make = (title, color) => this.#candles.createPriceLine({ title, color, price: 0, lineWidth: 1, lineStyle: 1 });
    this.#lines ??= [make("bid", this.#colors.up), make("ask", this.#colors.down)];
    this.#lines[0].applyOptions({ price: toNumber(quote.bid, scale) });
    this.#lines[1].applyOptions({ price: toNumber(quote.ask, scale) });
  }

  get length() {
    return this.#bars.size;
  }

  /** Begin anew, without candles. */
  clear() {
    this.#bars.clear();
    this.#changed.clear();
    this.#newest = -Infinity;
    this.#candles.setData([]);
    this.#volumes.setData([]);
  }

  remove() {
    this.#chart.remove();
  }
}
