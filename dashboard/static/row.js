// One row of the grid: its cells, and how they follow an instrument. A cell is touched only if its text changed.

import { placeInRange } from "./columns.js";
import { toNumber } from "./decimal.js";
import { element } from "./dom.js";
import { drawSpark } from "./spark.js";

const SPARK_MS = 200; // a course is drawn anew at most so often
const SPARK_HEIGHT = 22;
const TRACK_PX = 66;

/** One row of the table, which shows one instrument after the other. */
export class RowView {
  instrument = null;
  #cells = new Map(); // by column id: the text node and the text it has
  #version = -1;
  #moves = 0;
  #second = -1;
  #flashes = 0;
  #last = null; // the cell that flashes
  #canvas = null;
  #context = null;
  #sparkWidth = 0;
  #sparkVersion = -1;
  #sparkAt = 0;
  #marker = null;
  #markerAt = NaN;

  constructor(columns) {
    this.columns = columns;
    this.row = element("tr");
    for (const column of columns) this.row.append(this.#cell(column));
  }

  #cell(column) {
    const cell = element(column.id === "symbol" ? "th" : "td", `c-${column.id}`);
    if (column.content !== undefined) {
      const drawing = column.id === "trend" ? this.#makeCanvas(column.content) : this.#makeTrack();
      drawing.ariaHidden = "true";
      cell.append(drawing);
      return cell;
    }
    const node = document.createTextNode("");
    const holder = element("span", column.id === "symbol" ? "name" : "value");
    holder.append(node);
    this.#cells.set(column, { node, text: "" });
    if (column.id === "symbol") {
      cell.scope = "row";
      this.star = element("button", "star");
      this.star.tabIndex = -1;
      cell.append(this.star);
    }
    cell.append(holder);
    if (column.id === "last") this.#last = cell;
    return cell;
  }

  #makeCanvas(width) {
    this.#sparkWidth = width;
    return (this.#canvas = element("canvas"));
  }

  #makeTrack() {
    const track = element("span", "track");
    track.append((this.#marker = element("span", "marker")));
    return track;
  }

  /** Show an instrument, the `index`-th of the list; what it was before doesn't flash. */
  show(instrument, index) {
    if (this.index !== index) {
      this.index = index;
      this.row.ariaRowIndex = String(index + 2); // the header is the first
    }
    if (this.instrument === instrument) return;
    this.instrument = instrument;
    this.#version = -1;
    this.#sparkVersion = -1;
    this.#sparkAt = 0;
    this.#moves = instrument.moves;
    this.row.dataset.symbol = instrument.symbol;
    this.star.ariaLabel = `Watch ${instrument.symbol}`;
    delete this.#last?.dataset.flash;
  }

  /** Bring the row up to date; tell `lengths` of texts that are longer than it knew. */
  paint(context, lengths) {
    const { instrument } = this;
    const changed = this.#version !== instrument.version;
    if (changed || this.#second !== context.second) {
      this.#second = context.second;
      for (const [column, cell] of this.#cells) {
        if (!changed && column.id !== "age") continue;
        const text = column.text(instrument, context);
        if (text === cell.text) continue;
        cell.text = text;
        cell.node.data = text;
        if (text.length > lengths.get(column)) lengths.grow(column, text.length);
      }
    }
    if (changed) {
      this.#version = instrument.version;
      this.#paintSigns(instrument);
    }
    if (this.#canvas !== null) this.#paintSpark(instrument, context);
  }

  #paintSigns(instrument) {
    const { moves, direction, percent } = instrument;
    const side = percent > 0 ? "up" : percent < 0 ? "down" : "flat";
    if (this.row.dataset.side !== side) {
      this.row.dataset.side = side;
      this.#sparkVersion = -1;
    }
    if (moves !== this.#moves) {
      this.#moves = moves;
      if (this.#last !== null) {
        // Two names in turn: an animation under another name begins anew.
        this.#last.dataset.flash = `${direction > 0 ? "up" : "down"}-${this.#flashes++ % 2}`;
      }
    }
    if (this.#marker !== null) {
      const place = placeInRange(instrument);
      const at = Number.isNaN(place) ? -1 : Math.round(place * TRACK_PX);
      if (at !== this.#markerAt) {
        this.#markerAt = at;
        this.#marker.hidden = at < 0;
        this.#marker.style.transform = `translateX(${at}px)`;
      }
    }
    const isWatched = String(instrument.isWatched);
    if (this.star.ariaPressed !== isWatched) this.star.ariaPressed = isWatched;
  }

  #paintSpark(instrument, { now, colors, ratio }) {
    const { spark } = instrument;
    if (spark.version === this.#sparkVersion || now - this.#sparkAt < SPARK_MS) return;
    this.#sparkVersion = spark.version;
    this.#sparkAt = now;
    const width = this.#sparkWidth;
    if (this.#context === null || this.#canvas.width !== Math.round(width * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(SPARK_HEIGHT * ratio);
      this.#context = this.#canvas.getContext("2d");
      this.#context.scale(ratio, ratio);
    }
    const { range, lastScale } = instrument;
    const open = range === null ? NaN : toNumber(range.open, lastScale);
    drawSpark(this.#context, spark, width, SPARK_HEIGHT, colors[this.row.dataset.side] ?? colors.flat, open);
  }

  /** Draw the course again, in other colours. */
  redraw() {
    this.#sparkVersion = -1;
    this.#sparkAt = 0;
  }
}
