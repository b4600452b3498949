// A list of any length: only the rows that are seen are in the page, and rows are fetched in pages.

const ROW = 60;
const PAGE = 100;

export class LongList {
  // `fetchPage(start, limit)` gives { rows, total }; `describe(row)` gives { picture, name, sub, badge, kind }.
  constructor(element, { fetchPage, describe, choose, failed }) {
    Object.assign(this, { element, fetchPage, describe, choose, failed });
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "presentation");
    element.append(this.space);
    this.shown = new Map();
    this.reset();
    element.addEventListener("scroll", () => this.render());
    new ResizeObserver(() => this.render()).observe(element);
    element.addEventListener("keydown", (event) => this.keydown(event));
    element.addEventListener("click", (event) => {
      const item = event.target.closest(".item");
      if (item) this.select(Number(item.dataset.place));
    });
  }

  reset() {
    this.rows = [];
    this.total = 0;
    this.asked = new Map();
    this.selected = -1;
    this.round = (this.round ?? 0) + 1;
  }

  async load() {
    this.reset();
    for (const item of this.shown.values()) item.remove();
    this.shown.clear();
    this.element.scrollTop = 0;
    await this.page(0);
  }

  // The row at a place, fetched if it is not there yet; undefined beyond the end.
  async at(place) {
    if (place < 0 || (this.total && place >= this.total)) return undefined;
    if (!this.rows[place]) await this.page(Math.floor(place / PAGE));
    return this.rows[place];
  }

  async page(number) {
    if (!this.asked.has(number)) this.asked.set(number, this.fetch(number));
    return this.asked.get(number);
  }

  async fetch(number) {
    const { round } = this;
    try {
      const { rows, total } = await this.fetchPage(number * PAGE, PAGE);
      if (round !== this.round) return;
      this.grow(total);
      rows.forEach((row, index) => { this.rows[number * PAGE + index] = row; });
      if (rows.length < PAGE && number * PAGE + rows.length < total) this.asked.delete(number);
    } catch (error) {
      this.asked.delete(number);
      this.failed(error);
    }
    this.render();
  }

  // More was listed since.
  grow(total) {
    if (total === this.total) return;
    const last = Math.floor(Math.max(0, this.total - 1) / PAGE);
    if (total > this.total && (this.total % PAGE || !this.total)) this.asked.delete(last); // it was not full, or empty
    this.total = total;
    this.space.style.height = `${total * ROW}px`;
    this.render();
  }

  render() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - 4);
    const last = Math.min(this.total, Math.ceil((scrollTop + clientHeight) / ROW) + 4);
    for (const [place, item] of this.shown) {
      if (place < first || place >= last) { item.remove(); this.shown.delete(place); }
    }
    for (let place = first; place < last; place++) {
      if (!this.rows[place]) { this.page(Math.floor(place / PAGE)); continue; }
      if (!this.shown.has(place)) this.shown.set(place, this.space.appendChild(this.make(place)));
    }
    const active = this.shown.get(this.selected);
    if (active) this.element.setAttribute("aria-activedescendant", active.id); else this.element.removeAttribute("aria-activedescendant");
  }

  make(place) {
    const item = document.createElement("div");
    item.className = "item";
    item.id = `${this.element.id}-${place}`;
    item.dataset.place = place;
    item.setAttribute("role", "option");
    item.setAttribute("aria-posinset", place + 1);
    item.setAttribute("aria-setsize", this.total);
    item.style.top = `${place * ROW}px`;
    const picture = document.createElement("img");
    picture.alt = "";
    picture.loading = "lazy";
    picture.onerror = () => { picture.removeAttribute("src"); };
    const text = document.createElement("span");
    text.className = "name";
    const badge = document.createElement("span");
    item.append(picture, text, badge);
    this.fill(item, place);
    return item;
  }

  fill(item, place) {
    const { picture, name, sub, badge, kind } = this.describe(this.rows[place]);
    const [image, text, mark] = item.children;
    if (image.dataset.of !== picture) { image.dataset.of = picture; image.src = `/api/thumbnail?image=${encodeURIComponent(picture)}`; }
    text.textContent = name;
    text.title = name;
    if (sub) { const small = document.createElement("span"); small.className = "sub"; small.textContent = sub; text.append(small); }
    mark.className = `badge ${kind ?? ""}`;
    mark.textContent = badge ?? "";
    item.setAttribute("aria-selected", place === this.selected);
  }

  // Show a row that has changed.
  refresh(place, changes) {
    if (!this.rows[place]) return;
    Object.assign(this.rows[place], changes);
    const item = this.shown.get(place);
    if (item) this.fill(item, place);
  }

  async select(place) {
    const row = await this.at(place);
    if (!row) return false;
    const before = this.selected;
    this.selected = place;
    const top = place * ROW, { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.element.scrollTop = top + ROW - clientHeight;
    this.render();
    for (const each of [before, place]) if (this.shown.has(each)) this.fill(this.shown.get(each), each);
    this.choose(row, place);
    return true;
  }

  keydown(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -this.total, End: this.total }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.select(Math.min(Math.max(this.selected + step, 0), this.total - 1));
  }
}
