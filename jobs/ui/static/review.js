// Review: one mask after the other, in the order in which a person's minute helps most.

import { askForMask, decode } from "./masks.js";
import { photoOf } from "./photos.js";
import { Looking } from "./look.js";
import { ask } from "./server.js";

export const REASONS = ["wrong object", "too much", "too little", "ragged edge", "nothing there", "other"];

const WHY = {
  low_score: "its score is among the lowest",
  no_mask: "it has no mask, and a click can mend that",
  overlap: "it overlaps another object",
  near_duplicate: "it is nearly the same as another object",
  lost_click: "one of its clicks is in another mask",
  area_outlier: "its size is unusual for its category",
  changed: "the last night changed it",
};

export class Reviewing {
  constructor(page) {
    this.page = page;
    this.looking = new Looking(page.preparing);
    this.row = null;
    this.objects = [];
  }

  async open(row, place, aheadOf) {
    const opened = this.opened = (this.opened ?? 0) + 1;
    Object.assign(this, { row, place, image: row.image, objects: [], active: null, loaded: false });
    this.page.stage.show({ photo: null, map: null, objects: [] }, false);
    this.page.broken(null);
    this.page.changed();
    this.looking.begin(row.image);
    try {
      const ahead = await aheadOf();
      if (opened !== this.opened) return;
      this.looking.begin(row.image, ahead);
      this.looking.ready().catch(() => {});
      const { image } = row;
      const [about, reviewed, photo] = await Promise.all([ask("/api/image", { image }), ask("/api/reviewed", { image }), photoOf(image)]);
      if (opened !== this.opened) return;
      const added = new Map(about.objects.map((each) => [each.name, each]));
      this.objects = await Promise.all(reviewed.objects.map(async (each) => {
        const colour = each.name === row.object ? "#ffb000" : "#9aa3b5";
        const extra = (added.get(each.name)?.clicks ?? []).filter(([x, y, label]) => !each.clicks.some((click) => click[0] === x && click[1] === y && click[2] === label));
        return {
          name: each.name, colour, planned: each.clicks, added: extra, clicks: [...each.clicks, ...extra],
          mask: await decode(each.cutout, colour), active: each.name === row.object, dimmed: each.name !== row.object,
          score: each.name === row.object ? row.score : null, thresholds: [],
        };
      }));
      if (opened !== this.opened) return;
      this.active = this.objects.find((each) => each.active) ?? null;
      Object.assign(this, { width: about.width, height: about.height, loaded: true });
      this.page.stage.show({ photo, width: about.width, height: about.height, objects: this.shown() }, true);
      if (this.active?.added.length) this.renew();
      this.page.changed();
      if (ahead.length) photoOf(ahead[0]).catch(() => {});
    } catch (error) {
      if (opened === this.opened) this.page.broken(error, () => this.open(row, place, aheadOf));
    }
  }

  // The server is there again: what it was asked for last was not answered.
  goOn() {
    this.looking.again();
    if (this.active?.added.length && !this.active.exact) this.renew();
  }

  why() {
    if (!this.row) return "";
    const { failure, reasons } = this.row;
    const said = reasons.map((reason) => WHY[reason] ?? reason);
    if (failure) said.unshift(`no mask: ${failure.replaceAll("_", " ")}`);
    return said.length ? `${said.join("; ")}.` : "Nothing speaks against it.";
  }

  add(x, y, onObject) {
    const { active } = this;
    if (!this.loaded || !active) return;
    this.change([...active.added.filter(([a, b]) => a !== x || b !== y), [x, y, onObject ? 1 : 0]]);
  }

  undo() {
    if (this.active?.added.length) this.change(this.active.added.slice(0, -1));
    else if (this.row?.verdict) this.decide("undecided", null);
  }

  change(added) {
    const { active, row } = this;
    active.added = added;
    active.clicks = [...active.planned, ...added];
    this.page.outbox.put("/api/clicks", { image: row.image, objects: { [active.name]: { category: row.category, clicks: added } } });
    this.renew();
  }

  renew() {
    const { image, active } = this;
    const shows = () => { if (this.image === image) this.page.changed(); };
    askForMask(image, active, this.looking, shows, (error) => this.page.say(error.message, true));
  }

  // Says something of the mask that the run made. One that got clicks is not accepted as it is: the next night makes it anew.
  decide(verdict, reason) {
    const { row, place } = this;
    if (!row) return;
    if (verdict === "accept" && this.active?.added.length) { verdict = "reject"; reason = "fixed"; }
    if (verdict === "accept" && row.failure) { this.page.say("There is no mask to accept.", true); return; }
    this.page.outbox.put("/api/decide", { image: row.image, object: row.object, verdict, reason });
    this.page.decided(place, { verdict: verdict === "undecided" ? null : verdict, said: reason });
    if (verdict !== "undecided") this.page.next(1);
    else this.page.changed();
  }

  shown() { return this.objects.filter((each) => !each.active).concat(this.active ?? []); }
}
