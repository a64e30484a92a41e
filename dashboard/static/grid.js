// The table of symbols: a real table, of which only the rows in view exist.

import { COLUMNS } from "./columns.js";
import { element } from "./dom.js";
import { RowView } from "./row.js";

const OVERSCAN = 4; // rows that exist beyond each edge of the view
const STAR_PX = 34;
const ARROW_PX = 18; // of the last tick, or of the sorted column
const BOLD = new Set(["symbol", "last"]);

/** The longest text that each column has shown so far: columns grow with their texts, and never shrink under the eye. */
class Lengths extends Map {
  hasGrown = false;

  grow(column, length) {
    this.set(column, length);
    this.hasGrown = true;
  }
}

/**
 * `scroller` contains `table`. `on` has sort(columnId), watch(symbol) and select(symbol, isMeant) for what a person does
 * (`isMeant`: it was chosen by a click, not passed by);
 * viewed(symbols) and built(columns) for what is shown now; changed() asks for a painting.
 */
export class Grid {
  selected = null; // a symbol

  #scroller;
  #table;
  #on;
  #head = element("thead");
  #above = element("tbody", "spacer");
  #body = element("tbody");
  #below = element("tbody", "spacer");
  #columnElements = element("colgroup");
  #headers = new Map();
  #columns = [];
  #picked;
  #isPickedByHand;
  #views = [];
  #instruments = [];
  #lengths = new Lengths(COLUMNS.map((column) => [column, 5]));
  #rowHeight = 34;
  #headHeight = 32;
  #padding = 22;
  #digit = { bold: 9, regular: 8 }; // widths, in pixels
  #width = 0;
  #height = 0;
  #viewed = ""; // the symbols of the rows that exist, as one text
  #focusWanted = false;

  constructor(scroller, table, on) {
    this.#scroller = scroller;
    this.#table = table;
    this.#on = on;
    for (const spacer of [this.#above, this.#below]) {
      spacer.setAttribute("aria-hidden", "true");
      const row = element("tr");
      row.append(element("td"));
      spacer.append(row);
    }
    table.append(this.#columnElements, this.#head, this.#above, this.#body, this.#below);
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    scroller.addEventListener("scroll", () => on.changed(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(scroller);
  }

  /** Show these columns; `byHand` ones all, others as far as there is room for them. */
  pick(ids, byHand) {
    this.#picked = COLUMNS.filter(({ id }) => id === "symbol" || ids.has(id));
    this.#isPickedByHand = byHand;
    this.#arrange();
  }

  /** List these instruments, in this order. */
  list(instruments) {
    this.#instruments = instruments;
    this.#table.ariaRowCount = String(instruments.length + 1);
    if (this.#columns.length === 0) this.#arrange();
  }

  /** Mark the sorted column. */
  markSorted(column, descending) {
    for (const [each, header] of this.#headers) {
      header.ariaSort = each !== column ? "none" : descending ? "descending" : "ascending";
    }
  }

  /** Choose a symbol, or none (null). */
  select(symbol) {
    this.selected = symbol;
    this.#focusWanted = symbol !== null;
    this.#reveal(this.#selectedIndex);
    this.#on.changed();
  }

  get #selectedIndex() {
    return this.#instruments.findIndex(({ symbol }) => symbol === this.selected);
  }

  /** Move the selection by some rows; the first step selects the first row in view. */
  move(rows) {
    if (this.#instruments.length === 0) return;
    const at = this.#selectedIndex;
    const from = at < 0 ? Math.floor(this.#scroller.scrollTop / this.#rowHeight) - Math.sign(rows) : at;
    const to = Math.min(this.#instruments.length - 1, Math.max(0, from + rows));
    this.#on.select(this.#instruments[to].symbol, false);
  }

  get rowsInView() {
    return Math.max(1, Math.floor((this.#height - this.#headHeight) / this.#rowHeight) - 1);
  }

  /** Bring what is in view up to date. */
  paint(context) {
    if (this.#columns.length === 0) return;
    const total = this.#instruments.length;
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / this.#rowHeight) - OVERSCAN);
    const fitting = Math.ceil(this.#height / this.#rowHeight) + 2 * OVERSCAN;
    const start = Math.max(0, Math.min(first, total - fitting));
    const end = Math.min(total, start + fitting);
    this.#space(start, total - end);
    this.#provide(end - start);
    for (let index = start; index < end; index++) {
      const view = this.#views[index - start];
      view.show(this.#instruments[index], index);
      view.paint(context, this.#lengths);
      this.#markSelected(view);
    }
    if (this.#lengths.hasGrown) this.#arrange();
    this.#tellView(start, end);
  }

  redraw() {
    for (const view of this.#views) view.redraw();
  }

  #markSelected({ row, instrument }) {
    const isSelected = instrument.symbol === this.selected;
    if (row.classList.contains("selected") !== isSelected) {
      row.classList.toggle("selected", isSelected);
      row.tabIndex = isSelected ? 0 : -1;
      row.ariaCurrent = isSelected ? "true" : null;
    }
    if (isSelected && this.#focusWanted) {
      this.#focusWanted = false;
      row.focus({ preventScroll: true });
    }
  }

  #tellView(start, end) {
    const symbols = this.#instruments.slice(start, end).map(({ symbol }) => symbol);
    const viewed = symbols.join("\n");
    if (viewed === this.#viewed) return;
    this.#viewed = viewed;
    this.#on.viewed(symbols);
  }

  /** Keep the room of the rows that don't exist, above and below those that do. */
  #space(above, below) {
    for (const [spacer, rows] of [[this.#above, above], [this.#below, below]]) {
      spacer.firstChild.style.height = `${rows * this.#rowHeight}px`;
      spacer.hidden = rows === 0;
    }
  }

  /** Have exactly so many rows. */
  #provide(count) {
    while (this.#views.length < count) {
      const view = new RowView(this.#columns);
      this.#views.push(view);
      this.#body.append(view.row);
    }
    while (this.#views.length > count) this.#views.pop().row.remove();
  }

  #reveal(index) {
    if (index < 0) return;
    const top = index * this.#rowHeight;
    const room = this.#height - this.#headHeight - this.#rowHeight;
    if (top < this.#scroller.scrollTop) this.#scroller.scrollTop = top;
    else if (top > this.#scroller.scrollTop + room) this.#scroller.scrollTop = top - room;
  }

  #measure() {
    this.#width = this.#scroller.clientWidth;
    this.#height = this.#scroller.clientHeight;
    const style = getComputedStyle(this.#table);
    const pixels = (name) => parseFloat(style.getPropertyValue(name));
    this.#rowHeight = pixels("--row-height");
    this.#headHeight = pixels("--head-height");
    this.#padding = 2 * pixels("--cell-padding");
    const ruler = document.createElement("canvas").getContext("2d");
    const digit = (weight) => {
      ruler.font = `${weight} ${style.fontSize} ${style.fontFamily}`;
      return ruler.measureText("0123456789").width / 10;
    };
    this.#digit = { bold: digit(650), regular: digit(400) };
    this.#arrange();
    this.#on.changed();
  }

  #widthOf(column) {
    if (column.content !== undefined) return column.content + this.#padding;
    const digit = BOLD.has(column.id) ? this.#digit.bold : this.#digit.regular;
    const extra = column.id === "symbol" ? STAR_PX : column.id === "last" ? ARROW_PX : 0;
    const heading = column.label.length * this.#digit.regular * 0.9 + ARROW_PX;
    return Math.ceil(Math.max(heading, this.#lengths.get(column) * digit + extra) + this.#padding);
  }

  /** Choose the columns that fit, and give them their widths. */
  #arrange() {
    this.#lengths.hasGrown = false;
    if (this.#width === 0 || this.#picked === undefined) return;
    const shown = this.#isPickedByHand ? this.#picked : this.#fitting();
    if (shown.length !== this.#columns.length || shown.some((column, i) => column !== this.#columns[i])) {
      this.#build(shown);
    }
    const widths = shown.map((column) => this.#widthOf(column));
    const needed = widths.reduce((a, b) => a + b, 0);
    this.#table.style.minWidth = `${needed}px`;
    shown.forEach((_, i) => {
      this.#columnElements.children[i].style.width = `${((widths[i] / needed) * 100).toFixed(3)}%`;
    });
  }

  #fitting() {
    const byPriority = [...this.#picked].sort((a, b) => a.priority - b.priority);
    let room = this.#width;
    const fitting = new Set();
    for (const column of byPriority) {
      room -= this.#widthOf(column);
      if (room < 0 && fitting.size > 1) break;
      fitting.add(column);
    }
    return this.#picked.filter((column) => fitting.has(column));
  }

  #build(columns) {
    this.#columns = columns;
    this.#views = [];
    this.#body.replaceChildren();
    this.#columnElements.replaceChildren(...columns.map(() => element("col")));
    this.#headers.clear();
    const row = element("tr");
    row.ariaRowIndex = "1";
    for (const column of columns) {
      const header = element("th", `c-${column.id}`);
      header.scope = "col";
      const button = element("button", "", column.label);
      button.title = column.title;
      button.addEventListener("click", () => this.#on.sort(column.id));
      header.append(button);
      this.#headers.set(column, header);
      row.append(header);
    }
    this.#head.replaceChildren(row);
    for (const spacer of [this.#above, this.#below]) spacer.firstChild.firstChild.colSpan = columns.length;
    this.#on.built(columns);
  }

  #clicked(event) {
    const symbol = event.target.closest("tr")?.dataset.symbol;
    if (symbol === undefined) return;
    if (event.target.closest(".star") !== null) this.#on.watch(symbol);
    else this.#on.select(symbol, true);
  }
}
