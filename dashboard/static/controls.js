// The page's controls: filter, lists, columns, rate, theme. Each keeps its choice in this browser.

import { COLUMNS } from "./columns.js";
import { byId, element, write } from "./dom.js";
import { RATES_MS } from "./following.js";
import { storage } from "./storage.js";

const RATE_TEXTS = ["20 a second", "10 a second", "4 a second", "2 a second", "1 a second", "1 in 5 s"];

/** `on` has search(text), show(onlyWatched), pick(ids, byHand), rate(intervalMs, everyRow) and themed(). */
export class Controls {
  #on;
  #systemIsDark = matchMedia("(prefers-color-scheme: dark)");

  constructor(on) {
    this.#on = on;
    this.search = byId("search");
    this.search.addEventListener("input", () => on.search(this.search.value));
    byId("all").addEventListener("click", () => on.show(false));
    byId("watched").addEventListener("click", () => on.show(true));
    byId("theme").addEventListener("click", () => this.switchTheme());
    byId("help-button").addEventListener("click", () => this.help());
    this.#systemIsDark.addEventListener("change", () => this.#paintTheme());
    this.#prepareColumns();
    this.#prepareRate();
    this.#paintTheme();
  }

  clearSearch() {
    this.search.value = "";
    this.#on.search("");
  }

  help() {
    byId("help").showModal();
  }

  /** Say how many symbols there are, and which list is shown. */
  paintLists(all, watched, onlyWatched) {
    write("all-count", String(all));
    write("watched-count", String(watched));
    byId("all").ariaPressed = String(!onlyWatched);
    byId("watched").ariaPressed = String(onlyWatched);
  }

  switchTheme() {
    storage.write("theme", this.#isDark ? "light" : "dark");
    this.#paintTheme();
  }

  get #isDark() {
    const chosen = storage.read("theme", "");
    return chosen === "" ? this.#systemIsDark.matches : chosen === "dark";
  }

  #paintTheme() {
    document.documentElement.dataset.theme = this.#isDark ? "dark" : "light";
    byId("theme").ariaLabel = this.#isDark ? "Light theme" : "Dark theme";
    this.#on.themed();
  }

  #prepareColumns() {
    const list = byId("columns-list");
    for (const { id, label, title } of COLUMNS.slice(1)) {
      const box = element("input");
      box.type = "checkbox";
      box.value = id;
      const item = element("label");
      item.title = title;
      item.append(box, label);
      list.append(item);
    }
    list.addEventListener("change", () => this.#pick(this.#boxes.filter((box) => box.checked).map(({ value }) => value)));
    byId("columns-reset").addEventListener("click", () => this.#pick([]));
    this.#pick(storage.read("columns", []));
  }

  get #boxes() {
    return [...byId("columns-list").querySelectorAll("input")];
  }

  /** Show these columns; none named: all that fit. */
  #pick(ids) {
    storage.write("columns", ids);
    this.#on.pick(new Set(ids.length > 0 ? ids : COLUMNS.map(({ id }) => id)), ids.length > 0);
  }

  /** Tick the boxes of the columns that are shown. */
  paintColumns(columns) {
    const shown = new Set(columns.map(({ id }) => id));
    for (const box of this.#boxes) box.checked = shown.has(box.value);
  }

  #prepareRate() {
    const rate = byId("rate");
    const every = byId("every");
    const stored = storage.read("rate", 2);
    rate.value = String(stored in RATES_MS ? stored : 2);
    every.checked = storage.read("every", false);
    const tell = () => {
      const text = RATE_TEXTS[rate.value];
      rate.disabled = every.checked;
      rate.ariaValueText = text;
      write("rate-text", every.checked ? "as they come" : text);
    };
    const follow = () => this.#on.rate(RATES_MS[rate.value], every.checked);
    byId("rate-form").addEventListener("input", tell);
    byId("rate-form").addEventListener("change", () => {
      storage.write("rate", Number(rate.value));
      storage.write("every", every.checked);
      follow();
    });
    byId("rate-form").addEventListener("submit", (event) => event.preventDefault());
    tell();
    follow();
  }
}
