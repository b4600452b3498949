// Clicking: the objects of one image, their clicks and masks, undo and redo.

import { askForMask, colourOf } from "./masks.js";
import { photoOf } from "./photos.js";
import { Looking } from "./look.js";
import { ask } from "./server.js";

export class Clicking {
  // `page` has stage, outbox, list and the functions say, changed, broken.
  constructor(page) {
    this.page = page;
    this.looking = new Looking(page.preparing);
    this.image = null;
    this.objects = [];
    this.active = null;
    this.histories = new Map();
    this.category = "object";
    this.allowed = null;
  }

  // The categories that there may be, the first one for the first object; null: any.
  allow(categories) {
    this.allowed = categories;
    if (categories) [this.category] = categories;
  }

  async open(image, aheadOf, place) {
    const opened = this.opened = (this.opened ?? 0) + 1;
    Object.assign(this, { image, place, objects: [], active: null, loaded: false });
    this.page.stage.show({ photo: null, map: null, objects: [] }, false);
    this.page.broken(null);
    this.page.changed();
    this.looking.begin(image);
    try {
      const ahead = await aheadOf();
      if (opened !== this.opened) return;
      this.looking.begin(image, ahead);
      this.looking.ready().catch(() => {});
      const [about, photo] = await Promise.all([ask("/api/image", { image }), photoOf(image)]);
      if (opened !== this.opened) return;
      this.objects = about.objects.map((each, number) => ({ ...each, colour: colourOf(number), thresholds: [] }));
      Object.assign(this, { width: about.width, height: about.height, done: about.done, loaded: true });
      this.takeWaiting(image);
      this.active = this.objects.at(-1) ?? null;
      this.page.stage.show({ photo, width: about.width, height: about.height, objects: this.shown() }, true);
      this.page.changed();
      for (const each of this.objects) this.renew(each);
      if (ahead.length) photoOf(ahead[0]).catch(() => {});
    } catch (error) {
      if (opened === this.opened) this.page.broken(error, () => this.open(image, aheadOf, place));
    }
  }

  // What is on its way to the server is newer than what came from there.
  takeWaiting(image) {
    for (const { path, body } of this.page.outbox.waiting) {
      if (path !== "/api/clicks" || body.image !== image) continue;
      for (const [name, state] of Object.entries(body.objects)) this.apply(name, state);
    }
  }

  renew(object) {
    const { image } = this;
    const shows = () => { if (this.image === image) this.page.changed(); };
    askForMask(image, object, this.looking, shows, (error) => this.page.say(error.message, true));
  }

  // The server is there again: what it was asked for last was not answered.
  goOn() {
    this.looking.again();
    for (const each of this.objects) if (each.clicks.length && !each.exact) this.renew(each);
  }

  add(x, y, onObject) {
    if (!this.loaded) return;
    if (!this.active) this.begin();
    const { active } = this;
    if (!onObject && !active.clicks.some((click) => click[2])) {
      this.page.say("First click on the object, then beside it.", true);
      return;
    }
    const others = active.clicks.filter(([a, b]) => a !== x || b !== y);
    this.commit({ [active.name]: { ...stateOf(active), clicks: [...others, [x, y, onObject ? 1 : 0]] } });
  }

  begin() {
    const empty = this.objects.find((each) => !each.clicks.length);
    if (empty) { this.active = empty; this.page.changed(); return; }
    const names = new Set(this.objects.map((each) => each.name).concat([...(this.history().used ?? [])]));
    let number = 1;
    while (names.has(String(number))) number++;
    this.active = this.make(String(number), this.category);
    this.page.changed();
  }

  make(name, category) {
    const used = new Set(this.objects.map((each) => each.colour));
    let number = 0;
    while (used.has(colourOf(number)) && number < 8) number++;
    const object = { name, category, clicks: [], box: null, colour: colourOf(number < 8 ? number : this.objects.length), thresholds: [] };
    this.objects.push(object);
    this.history().used.add(name);
    return object;
  }

  rename(object, category) {
    const clean = category.trim();
    if (!clean || clean === object.category) return this.page.changed();
    if (this.allowed && !this.allowed.includes(clean)) {
      this.page.say(`There is no category “${clean}”. Allowed: ${this.allowed.join(", ")}`, true);
      return this.page.changed();
    }
    this.category = clean;
    if (object.clicks.length) this.commit({ [object.name]: { ...stateOf(object), category: clean } });
    else object.category = clean;
    this.page.changed();
  }

  remove(object = this.active) {
    if (!object) return;
    if (object.clicks.length) this.commit({ [object.name]: { ...stateOf(object), clicks: [] } });
    else { this.objects = this.objects.filter((each) => each !== object); this.active = this.objects.at(-1) ?? null; }
    this.page.changed();
  }

  choose(step) {
    if (!this.objects.length) return;
    const place = this.objects.indexOf(this.active);
    this.active = this.objects[(place + step + this.objects.length) % this.objects.length];
    this.page.changed();
  }

  history() {
    if (!this.histories.has(this.image)) this.histories.set(this.image, { past: [], future: [], used: new Set() });
    return this.histories.get(this.image);
  }

  commit(after) {
    const before = {};
    for (const name of Object.keys(after)) {
      const object = this.objects.find((each) => each.name === name);
      before[name] = object ? stateOf(object) : { ...after[name], clicks: [] };
    }
    const history = this.history();
    history.past.push([before, after]);
    history.future = [];
    this.enact(after);
  }

  undo() { this.step("past", "future", 0); }

  redo() { this.step("future", "past", 1); }

  step(from, to, side) {
    const history = this.history();
    const change = history[from].pop();
    if (!change) return;
    history[to].push(change);
    this.enact(change[side]);
  }

  enact(objects) {
    this.page.outbox.put("/api/clicks", { image: this.image, objects });
    for (const [name, state] of Object.entries(objects)) {
      const object = this.apply(name, state);
      if (object) { this.active = object; this.renew(object); }
    }
    this.page.counted(this.place, this.objects.filter((each) => each.clicks.length).length);
    this.page.changed();
  }

  apply(name, { category, clicks, box = null }) {
    let object = this.objects.find((each) => each.name === name);
    if (!clicks.length && object) {
      this.objects = this.objects.filter((each) => each !== object);
      object.asked = (object.asked ?? 0) + 1; // answers that are on their way are of no object any more
      if (this.active === object) this.active = this.objects.at(-1) ?? null;
      return null;
    }
    if (!clicks.length) return null;
    object ??= this.make(name, category);
    Object.assign(object, { category, clicks, box });
    return object;
  }

  markDone() {
    if (!this.loaded) return;
    this.done = !this.done;
    this.page.outbox.put("/api/done", { image: this.image, done: this.done });
    this.page.counted(this.place, undefined, this.done);
    this.page.changed();
  }

  shown() {
    return this.objects.map((each) => Object.assign(each, { active: each === this.active }));
  }
}

// What is saved of an object. Its box comes from another tool and stays as it is.
const stateOf = ({ category, clicks, box }) => ({ category, clicks, box });
